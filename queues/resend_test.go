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

// The server's clock for message ages must run outside of every synctest bubble.
func TestMain(m *testing.M) {
	ats.Register()
	code := m.Run()
	ats.Unregister()
	os.Exit(code)
}

// A send whose answer is lost is repeated, and so the message is stored twice.
func TestSendIsRepeatedWhenItsAnswerIsLost(t *testing.T) {
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
			t.Errorf("answers while they are lost: got %d, want 0", len(answer))
		}
		b.LoseAnswers(false)
		begun := time.Now()
		check(t, <-answer)
		if time.Since(begun) == 0 {
			t.Error("time until the answer: got 0, want more, since the send must be repeated")
		}
		n := 0
		for _, err := range log.Read(t.Context(), 0) {
			check(t, err)
			n++
		}
		if n != 2 || len(answer) > 0 {
			t.Errorf("got %d stored messages and %d answers, want 2 stored messages and 1 answer", n, 1+len(answer))
		}
	})
}
