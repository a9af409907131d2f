package task

import "github.com/tidemill/tidemill/internal/broken"

// Dispatch tells the dispatches of one task apart. A retry after an error adds an attempt, the death of an agent adds a loss,
// so a later dispatch has a greater sum of both.
type Dispatch struct {
	Attempt int32 // 1 is the first
	Losses  int32 // how many agents were lost with the task
}

// Before reports whether e is a later dispatch of the same task.
func (d Dispatch) Before(e Dispatch) bool { return d.Attempt+d.Losses < e.Attempt+e.Losses }

// After returns the dispatch that follows when a note in this state was recorded for d. After a refusal, a start or a return
// it is d itself.
func (d Dispatch) After(note State) Dispatch {
	switch note {
	case Errored:
		d.Attempt++
	case Lost:
		if !broken.ForgetLosses {
			d.Losses++
		}
	default:
	}
	return d
}
