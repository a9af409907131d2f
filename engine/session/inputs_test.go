package session_test

import (
	"bytes"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/engine/values"
	"github.com/tidemill/tidemill/objstore"
	"github.com/tidemill/tidemill/objstore/memory"
)

// A task whose input is loaded needs the values to which that refers, whether the program has released them meanwhile or not.
func TestAReleasedValueIsLoaded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		store := objstore.NewStore(objstore.Config{Tier: memory.New(memory.Config{})})
		s, err := session.Open(h.ctx, h.broker, session.Config{Owner: "you", Objects: store, Logger: slog.New(slog.DiscardHandler)})
		check(t, err)
		defer s.Close()
		var refs []*session.Handle
		for fill := range byte(40) {
			v := task.Value{Data: bytes.Repeat([]byte{fill}, values.InlineBytes)}
			refs = append(refs, s.Put(h.ctx, v, nil))
		}
		h.pull()
		s.Submit(h.ctx, &session.Order{Template: f, Deps: refs}, nil)
		for _, ref := range refs {
			ref.Release()
		}
		select {
		case b := <-h.batches:
			if len(b.Specs) != 1 {
				t.Errorf("got %d tasks, want 1", len(b.Specs))
			}
		case <-time.After(time.Minute):
			t.Error("the task was not published within a minute")
		}
	})
}
