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
	"github.com/tidemill/tidemill/engine/values"
	"github.com/tidemill/tidemill/objstore"
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
	var v task.Value
	if err := h.Outcome(ctx, &v); err != nil {
		return "", err
	}
	token = newToken()
	row := Exported{TTL: ttl, Value: task.AppendValue(nil, whole(v))}
	data := row.Value
	if len(data) > values.InlineBytes {
		if s.objects.store.Objects == nil {
			return "", values.TooLarge(len(data), values.InlineBytes)
		}
		row.Value, row.Object = nil, &task.Object{Scope: token, ID: objstore.Fresh(), Size: int64(len(data))}
	}
	value, err := json.Marshal(row)
	if err != nil {
		return "", err
	}
	table, err := s.broker.OpenTable(ctx, s.broker.Exports())
	if err == nil {
		_, err = table.Create(ctx, token, value) // first, so that the object goes with it whatever becomes of us
	}
	if err == nil && row.Object != nil {
		err = s.objects.store.Objects.PutAs(ctx, values.KeyOf(row.Object), objstore.NewContent(data))
	}
	return token, err
}

const tokenPrefix = "x-"

func newToken() string { return tokenPrefix + strings.ToLower(rand.Text()) }

// IsToken reports whether this may be the token of an export: sessions are not called like that.
func IsToken(token string) bool {
	return len(token) == len(newToken()) && strings.HasPrefix(token, tokenPrefix) && task.CheckOwner(token) == nil &&
		!strings.Contains(token[len(tokenPrefix):], "-")
}

// whole returns the value with all its bytes in it, and no objects.
func whole(v task.Value) *task.Value {
	out := task.Value{Type: v.Type, Data: v.Data}
	if refs := v.Refs(); len(refs) > 0 {
		out.External = &task.External{Refs: make([]task.Value, len(refs))}
		for i := range refs {
			out.External.Refs[i] = *whole(refs[i])
		}
	}
	return &out
}

// Import returns a handle of an exported value, or ErrNoExport. It makes a copy, which stays when the export's time
// is over.
func (s *Session) Import(ctx context.Context, token string) (*Handle, error) {
	if !IsToken(token) {
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
	v, err := s.imported(ctx, e)
	if err != nil {
		return nil, err
	}
	return s.put(ctx, v, nil)
}

// imported returns an exported value with all its bytes.
func (s *Session) imported(ctx context.Context, e Exported) (task.Value, error) {
	data := e.Value
	if e.Object != nil {
		read, err := s.objects.store.Read(ctx, task.Value{External: &task.External{Object: e.Object}})
		if err != nil {
			return read, err
		}
		data = read.Data
	}
	v, err := task.DecodeValue(data)
	if err != nil || v.Type == task.Bundle || v.HasObjects() {
		return v, values.FailureOf(objstore.ErrDamaged, "what is exported is no value with all its bytes: %v", err)
	}
	return v, nil
}
