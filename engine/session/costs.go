package session

import (
	"time"

	"github.com/tidemill/tidemill/internal/mean"
)

// cost is what a session has learned of a function's run times from entries. Session.mu guards it.
//
// A run time may contain a pause of the scheduler, a thousand times the work: one such run must not break up batches. So
// outliers are clipped in the mean, and a peak counts when it was reached twice.
type cost struct {
	mean   mean.Moving
	peaks  [2]time.Duration // the two greatest run times of late, the greater one first
	trying int              // tasks under way while nothing was measured yet
}

// costWindow is over how many runs the mean moves and peaks fade.
const costWindow = 64

func newCost() *cost { return &cost{mean: mean.New(costWindow)} }

// observe learns from one run. A run time of 0 is normal in virtual time.
func (c *cost) observe(ran time.Duration) {
	c.mean.Add(ran)
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

func (c *cost) known() bool { return c.mean.Known() }

// expected returns how long the next run will take, seen with caution: a function that now and then
// takes long is not put into large batches.
func (c *cost) expected() time.Duration { return max(c.mean.Value(), c.peaks[1]/10) }

// unknownLimit is how many tasks of a function that was not measured yet go into one batch: one, until
// each slot has one, and some more then.
func (c *cost) unknownLimit(slots int) int {
	if c.trying < slots {
		return 1
	}
	return unknownTasks
}
