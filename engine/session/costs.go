package session

import "time"

// cost is what a session has learned of a function's run times from entries. The owner's lock guards it.
type cost struct {
	seen   int           // runs, up to costWindow
	mean   time.Duration // moving
	peak   time.Duration // the recent maximum
	trying int           // tasks under way while nothing was seen yet
}

// costWindow is over how many runs the mean moves.
const costWindow = 64

// observe learns from one run. A run time of 0 is normal in virtual time.
func (c *cost) observe(ran time.Duration) {
	if c.seen < costWindow {
		c.seen++
	}
	c.mean += (ran - c.mean) / time.Duration(c.seen)
	c.peak = max(ran, c.peak-c.peak/costWindow)
}

func (c *cost) known() bool { return c.seen > 0 }

// expected returns how long the next run will take, seen with caution: a function that now and then
// takes long is not put into large batches.
func (c *cost) expected() time.Duration { return max(c.mean, c.peak/10) }
