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

// Exported is a row in the table of exports: a value that outlives its session, until it expires. The row's key is the token,
// which is also the scope of the value's object. Written by session, read by session and nodeagent (janitor).
type Exported struct {
	TTL    time.Duration `json:"ttl"`
	Value  []byte        `json:"value,omitempty"`  // as task.AppendValue writes it
	Object *task.Object  `json:"object,omitempty"` // that has the value, if it is too large for a row
}

// Over reports whether a row has expired that was written at that time of the server's clock.
func (e Exported) Over(written time.Time) bool { return time.Since(written) > e.TTL }

// ErrNoExport says that nothing is exported under a token: the export has expired, or there never was one.
var ErrNoExport = errors.New("nothing is exported under this token, or the export has expired")

// Export waits for a value and makes a copy of it, with all it refers to, that can be imported by the token until it expires
// after ttl, whatever becomes of this session.
func (s *Session) Export(ctx context.Context, h *Handle, ttl time.Duration) (token string, err error) {
	err = s.whileOpen(ctx, func(ctx context.Context) error {
		token, err = s.export(ctx, h, ttl)
		return err
	})
	return token, err
}

// export is Export, whose errors may be internal ones while the session is closed.
func (s *Session) export(ctx context.Context, h *Handle, ttl time.Duration) (token string, err error) {
	if ttl <= 0 {
		return "", fmt.Errorf("a time to live of %s: want more than 0", ttl)
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
	if err := values.CheckRefs(&v); err != nil { // those in bundles count too: whole has no bundles
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
		_, err = table.Create(ctx, token, value) // first, so that the object is removed with the row, whatever becomes of this process
	}
	if err == nil && row.Object != nil {
		err = s.objects.store.Objects.PutAs(ctx, values.KeyOf(row.Object), objstore.NewContent(data))
	}
	return token, err
}

const tokenPrefix = "x-"

func newToken() string { return tokenPrefix + strings.ToLower(rand.Text()) }

// IsToken reports whether this may be the token of an export. No session has such a name.
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

// Import returns a handle of an exported value, or ErrNoExport. It makes a copy, which stays when the export expires.
func (s *Session) Import(ctx context.Context, token string) (h *Handle, err error) {
	err = s.whileOpen(ctx, func(ctx context.Context) error {
		h, err = s.importOf(ctx, token)
		return err
	})
	return h, err
}

// importOf is Import, whose errors may be internal ones while the session is closed.
func (s *Session) importOf(ctx context.Context, token string) (*Handle, error) {
	if !IsToken(token) {
		return nil, fmt.Errorf("%w: %q is not a token of an export", ErrNoExport, task.Clip(token, 80))
	}
	table, err := s.broker.OpenTable(ctx, s.broker.Exports())
	if err != nil {
		return nil, err
	}
	row, err := table.Get(ctx, token)
	if errors.Is(err, queues.ErrNoRow) {
		return nil, fmt.Errorf("%w: %s", ErrNoExport, token)
	}
	var e Exported
	if err == nil {
		err = json.Unmarshal(row.Value, &e)
	}
	if err != nil {
		return nil, fmt.Errorf("read the export %s: %w", token, err)
	}
	if e.Over(row.Written) {
		return nil, fmt.Errorf("%w: %s", ErrNoExport, token)
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
	switch {
	case err != nil:
		return v, &task.Failure{Kind: task.KindOutput, Message: "decode the exported value: " + err.Error()}
	case v.Type == task.Bundle || v.HasObjects():
		return v, values.FailureOf(objstore.ErrDamaged, "the exported value names objects, which are not exported with it")
	}
	return v, nil
}
