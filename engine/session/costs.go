package session

import "time"

// cost is what a session has learned of a function's run times from entries. The owner's lock guards it.
//
// Run times are by the clock, so one of them may hold a pause of the scheduler, a thousand times the
// work: such a one must not break up batches. So a run counts into the mean with sixteen times the mean at
// most, and a peak counts when it was reached twice.
type cost struct {
	seen   int              // runs, up to costWindow
	mean   time.Duration    // moving
	peaks  [2]time.Duration // the two greatest of late, the greater one first
	trying int              // tasks under way while nothing was seen yet
}

const (
	costWindow = 64               // over how many runs the mean moves and peaks fade
	costClip   = 16               // times the mean
	costNoise  = time.Millisecond // is never clipped
)

// observe learns from one run. A run time of 0 is normal in virtual time.
func (c *cost) observe(ran time.Duration) {
	if c.seen < costWindow {
		c.seen++
	}
	counted := ran
	if c.seen > 1 {
		counted = min(ran, max(costClip*c.mean, costNoise))
	}
	c.mean += (counted - c.mean) / time.Duration(c.seen)
	for i := range c.peaks {
		c.peaks[i] -= c.peaks[i] / costWindow
	}
	switch {
	case ran > c.peaks[0]:
		c.peaks = [2]time.Duration{ran, c.peaks[0]}
	case ran > c.peaks[1]:
		c.peaks[1] = ran
	}
}

func (c *cost) known() bool { return c.seen > 0 }

// expected returns how long the next run will take, seen with caution: a function that now and then
// takes long is not put into large batches.
func (c *cost) expected() time.Duration { return max(c.mean, c.peaks[1]/10) }
