package task_test

import (
	"testing"

	"github.com/tidemill/tidemill/engine/task"
)

// The note of a dispatch decides which dispatch follows: an error adds an attempt, a lost agent adds a loss, and every
// other note leaves the dispatch as it is.
func TestDispatchAfterANote(t *testing.T) {
	from := task.Dispatch{Attempt: 2, Losses: 3}
	for note, want := range map[task.State]task.Dispatch{
		task.Errored:  {Attempt: 3, Losses: 3},
		task.Lost:     {Attempt: 2, Losses: 4},
		task.Refused:  from,
		task.Started:  from,
		task.Returned: from,
	} {
		if got := from.After(note); got != want {
			t.Errorf("%+v.After(%s): got %+v, want %+v", from, note, got, want)
		}
	}
}

// Later dispatches have a greater sum of attempt and losses. Two with the same sum are in no order: of one task, there
// is at most one for each sum.
func TestDispatchBefore(t *testing.T) {
	for _, c := range []struct {
		d, e task.Dispatch
		want bool
	}{
		{task.Dispatch{}, task.Dispatch{Attempt: 1}, true},
		{task.Dispatch{Attempt: 1}, task.Dispatch{Attempt: 1}, false},
		{task.Dispatch{Attempt: 1}, task.Dispatch{Attempt: 2}, true},
		{task.Dispatch{Attempt: 1}, task.Dispatch{Attempt: 1, Losses: 1}, true},
		{task.Dispatch{Attempt: 1, Losses: 1}, task.Dispatch{Attempt: 2, Losses: 1}, true},
		{task.Dispatch{Attempt: 2, Losses: 1}, task.Dispatch{Attempt: 2}, false},
		{task.Dispatch{Attempt: 2}, task.Dispatch{Attempt: 1, Losses: 1}, false},
	} {
		if got := c.d.Before(c.e); got != c.want {
			t.Errorf("%+v.Before(%+v): got %t, want %t", c.d, c.e, got, c.want)
		}
	}
}
