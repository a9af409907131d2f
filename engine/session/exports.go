package session

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/queues"
)

// Exported is a row in the table of exports: a value that outlives its session, until its time is over. The key is
// the token, and the scope of its object. Written by session, read by session and nodeagent (janitor).
type Exported struct {
	TTL    time.Duration `json:"ttl"`
	Value  []byte        `json:"value,omitempty"`  // as task.AppendValue writes it
	Object *task.Object  `json:"object,omitempty"` // where it is, if it is too large for a row
}

// Over reports whether the time of a row is over that was written then, by the server's clock.
func (e Exported) Over(written time.Time) bool { return time.Since(written) > e.TTL }

// ErrNoExport says that nothing is exported under a token: its time is over, or it never was here.
var ErrNoExport = errors.New("nothing is exported under this token, or its time is over")

// Export waits for a value and makes a copy of it, with all it refers to, that can be had by the token until ttl is
// over, whatever becomes of this session.
func (s *Session) Export(ctx context.Context, h *Handle, ttl time.Duration) (token string, err error) {
	if ttl <= 0 {
		return "", fmt.Errorf("a time to live of %s", ttl)
	}
	if err := s.owns(h); err != nil {
		return "", err
	}
	if err := h.Wait(ctx); err != nil {
		return "", err
	}
	v, err := h.Outcome(ctx)
	if err != nil {
		return "", err
	}
	token = "x-" + strings.ToLower(rand.Text())
	row := Exported{TTL: ttl, Value: task.AppendValue(nil, whole(v))}
	if len(row.Value) > InlineBytes {
		if row.Object, err = s.values.put(ctx, token, row.Value, false); err != nil {
			return "", err
		}
		row.Value = nil
	}
	value, err := json.Marshal(row)
	if err != nil {
		return "", err
	}
	table, err := s.broker.OpenTable(ctx, s.broker.Exports())
	if err == nil {
		_, err = table.Create(ctx, token, value)
	}
	return token, err
}

// whole returns the value with all its bytes in it, and no objects.
func whole(v task.Value) *task.Value {
	out := task.Value{Type: v.Type, Data: v.Data}
	if refs := v.Refs(); len(refs) > 0 {
		out.Far = &task.Far{Refs: make([]task.Value, len(refs))}
		for i := range refs {
			out.Far.Refs[i] = *whole(refs[i])
		}
	}
	return &out
}

// Import returns a handle of an exported value, or ErrNoExport.
func (s *Session) Import(ctx context.Context, token string) (*Handle, error) {
	if task.CheckOwner(token) != nil {
		return nil, fmt.Errorf("%w: %q is no token", ErrNoExport, task.Clip(token, 80))
	}
	table, err := s.broker.OpenTable(ctx, s.broker.Exports())
	if err != nil {
		return nil, err
	}
	row, err := table.Get(ctx, token)
	if errors.Is(err, queues.ErrNoRow) {
		return nil, ErrNoExport
	}
	var e Exported
	if err == nil {
		err = json.Unmarshal(row.Value, &e)
	}
	if err != nil {
		return nil, err
	}
	if e.Over(row.Written) {
		return nil, ErrNoExport
	}
	h := &Handle{s: s, value: task.Value{Type: task.Bundle, Data: e.Value}}
	if e.Object != nil {
		h.value.Far = &task.Far{Object: e.Object}
	}
	h.digest = valueDigest(&h.value)
	h.ended.Store(true)
	return h, nil
}
