package nodeagent

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/internal/wait"
	"github.com/tidemill/tidemill/queues"
)

// An agent knows what is cancelled for as long as the table of cancels does, and not for ever: an owner may cancel a task
// each minute for months.
func TestOldCancelsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const days, hours = 20, 24
		var o owners
		number := func(hour int) uint64 { return 2 * uint64(hour+1) }
		for hour := range days * hours {
			row := queues.Row{Key: fmt.Sprintf("me.1-%d", hour), Value: fmt.Appendf(nil, `{"asked":[[%d,%d]]}`, number(hour), number(hour))}
			if got := o.cancel(row); got != "me" {
				t.Fatalf("a row of cancels: got owner %q, want me", got)
			}
			for _, before := range []int{0, 1, hours - 1} {
				if h := hour - before; h >= 0 && o.unwanted("me", number(h)) == nil {
					t.Fatalf("a task that was cancelled %d hours ago: got wanted, want unwanted", before)
				}
			}
			_ = wait.Pause(t.Context(), time.Hour)
		}
		if n, most := len(o.recent.asked["me"])+len(o.former.asked["me"]), 2*hours+2; n > most {
			t.Errorf("after %d days: got %d cancelled tasks, want at most those of two times %s, %d", days, n, session.CancelsAge, most)
		}
		if o.unwanted("me", number(0)) != nil {
			t.Errorf("a task that was cancelled %d days ago: got unwanted, want forgotten", days)
		}
	})
}
