package queues_test

import (
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server/ats"

	"github.com/tidemill/tidemill/queues"
	"github.com/tidemill/tidemill/queues/embedded"
)

// The server's clock for message ages must run outside of every bubble of virtual time.
func TestMain(m *testing.M) {
	ats.Register()
	code := m.Run()
	ats.Unregister()
	os.Exit(code)
}

// A send whose answer is lost is sent again, and so stored twice.
func TestALostAnswerIsAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, err := embedded.Start(embedded.Config{})
		check(t, err)
		defer server.Close()
		b, err := queues.Connect(queues.Config{Namespace: "tm", Dialer: server})
		check(t, err)
		defer b.Close()
		log := must(b.OpenLog(t.Context(), b.Log("me")))(t)
		b.LoseAnswers(true)
		answer := make(chan error, 2)
		log.Send(text("x"), func(_ uint64, err error) { answer <- err })
		synctest.Wait()
		if len(answer) > 0 {
			t.Error("an answer came")
		}
		b.LoseAnswers(false)
		begun := time.Now()
		check(t, <-answer)
		if time.Since(begun) == 0 {
			t.Error("no time went by")
		}
		n := 0
		for _, err := range log.Read(t.Context(), 0) {
			check(t, err)
			n++
		}
		if n != 2 || len(answer) > 0 {
			t.Errorf("stored %d times, answered once and %d times", n, len(answer))
		}
	})
}
