package task_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/tidemill/tidemill/engine/task"
)

// Another CBOR library reads random messages as maps and arrays.
func TestAnotherLibraryReadsMessages(t *testing.T) {
	var w task.RecordWriter
	for seed := range uint64(20) {
		b := randomBatch(rand.New(rand.NewPCG(seed, 3)))
		checkGeneric(t, task.AppendBatch(nil, b), genericBatch(b))
		v := randomValue(rand.New(rand.NewPCG(seed, 5)))
		checkGeneric(t, task.AppendValue(nil, &v), genericValue(&v))
		rec := randomRecord(rand.New(rand.NewPCG(seed, 4)))
		checkGeneric(t, encodeRecord(&w, nil, rec), genericRecord(rec))
		if t.Failed() {
			t.Fatalf("the message of seed %d is read differently by another library", seed)
		}
	}
}

// The error of a function may have any bytes, but is sent as valid UTF-8, as CBOR requires of texts.
func TestFailuresAreSentAsUTF8(t *testing.T) {
	data := encodeRecord(new(task.RecordWriter), nil, &task.Record{Entries: []task.Entry{{
		Number: 1, State: task.Failed, Dispatch: task.Dispatch{Attempt: 1},
		Failure: &task.Failure{Kind: task.KindError, Message: "cannot read \xff\xfe", Stack: "\xc3"},
	}}})
	if err := strict(t).Unmarshal(data, new(any)); err != nil {
		t.Errorf("got error %v, want none: %x", err, data)
	}
}

// checkGeneric decodes the message into maps and slices, and compares them with the ones wanted.
func checkGeneric(t *testing.T, data []byte, want any) {
	t.Helper()
	var got any
	if err := strict(t).Unmarshal(data, &got); err != nil {
		t.Errorf("got error %v, want none: %x", err, data)
		return
	}
	if diff := difference(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// strict returns a decoder that refuses everything that some decoder may refuse.
func strict(t *testing.T) cbor.DecMode {
	mode, err := cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden,
		TagsMd: cbor.TagsForbidden, UTF8: cbor.UTF8RejectInvalid,
	}.DecMode()
	if err != nil {
		t.Fatalf("got error %v, want none", err)
	}
	return mode
}

// fields is a map with integer keys. The keys below are not taken from the code, since they are the wire.
type fields = map[any]any

// put sets a field that is left out when it is 0.
func put(m fields, key, n uint64) {
	if n != 0 {
		m[key] = n
	}
}

func genericBatch(b *task.Batch) any {
	calls, specs := []any{}, []any{}
	for _, c := range b.Calls {
		m := fields{uint64(1): c.Func}
		put(m, 2, uint64(c.Retries))
		put(m, 3, uint64(c.Timeout))
		calls = append(calls, m)
	}
	for _, s := range b.Specs {
		m := fields{uint64(1): s.Number, uint64(6): append([]byte{}, s.Input.Data...)}
		put(m, 2, uint64(s.Call))
		put(m, 3, uint64(s.Attempt-1))
		put(m, 4, uint64(s.Losses))
		put(m, 5, uint64(s.Input.Type))
		if !s.Digest.IsZero() {
			m[uint64(7)] = s.Digest[:]
		}
		putExternal(m, 8, &s.Input)
		specs = append(specs, m)
	}
	m := fields{
		uint64(0): uint64(1), uint64(1): b.Owner, uint64(2): string(b.Class), uint64(3): string(b.Level),
		uint64(4): calls, uint64(5): specs,
	}
	if b.Scope != "" {
		m[uint64(6)] = b.Scope
	}
	return m
}

// putExternal sets the fields of a value for its object, at this key, and for its references, at the next one.
func putExternal(m fields, key uint64, v *task.Value) {
	if o := v.Object(); o != nil {
		m[key] = []any{o.Scope, o.ID[:], uint64(o.Size)}
	}
	var refs []any
	for i := range v.Refs() {
		refs = append(refs, genericValue(&v.External.Refs[i]))
	}
	if refs != nil {
		m[key+1] = refs
	}
}

func genericValue(v *task.Value) any {
	m := fields{uint64(2): append([]byte{}, v.Data...)}
	put(m, 1, uint64(v.Type))
	putExternal(m, 3, v)
	return m
}

func genericRecord(rec *task.Record) any {
	numbers, body := []any{}, []any{}
	for i := range rec.Entries {
		numbers = append(numbers, rec.Entries[i].Number)
		body = append(body, genericEntry(&rec.Entries[i]))
	}
	return []any{uint64(1), rec.Writer, rec.Owner, numbers, []byte{}, body}
}

func genericEntry(e *task.Entry) any {
	m := fields{uint64(1): uint64(e.State)}
	put(m, 2, uint64(e.Attempt-1))
	put(m, 3, uint64(e.Losses))
	put(m, 4, uint64(e.Ran))
	put(m, 5, uint64(e.Value.Type))
	if e.State == task.OK {
		m[uint64(6)] = append([]byte{}, e.Value.Data...)
		putExternal(m, 9, &e.Value)
	}
	if f := e.Failure; f != nil {
		failure := fields{uint64(1): uint64(f.Kind), uint64(2): f.Message, uint64(3): f.Stack}
		var causes []any
		for _, c := range f.Causes {
			causes = append(causes, []any{c.Func, c.Number, uint64(c.Kind), c.Message})
		}
		if causes != nil {
			failure[uint64(4)] = causes
		}
		var infos []any
		for _, i := range f.Errors {
			infos = append(infos, []any{i.Code, i.Type, append([]byte{}, i.Details...)})
		}
		if infos != nil {
			failure[uint64(5)] = infos
		}
		if f.NonRetryable {
			failure[uint64(6)] = uint64(1)
		}
		if e.Unbegun {
			failure[uint64(7)] = uint64(1)
		}
		m[uint64(7)] = failure
	}
	if !e.Digest.IsZero() {
		m[uint64(8)] = e.Digest[:]
	}
	return m
}

// Integers are encoded as by another CBOR library, and read back.
func TestIntegersAreCBOR(t *testing.T) {
	for _, n := range []int64{0, 1, 23, 24, 255, 256, 1<<16 - 1, 1 << 16, 1<<32 - 1, 1 << 32, 1<<63 - 1, -1, -24, -25, -256, -257, -1 << 63} {
		want, err := cbor.Marshal(n)
		if err != nil {
			t.Fatalf("got error %v, want none", err)
		}
		if got := task.AppendInt(nil, n); !bytes.Equal(got, want) {
			t.Errorf("AppendInt(%d): got %x, want %x", n, got, want)
		}
		if got, ok := task.ReadInt(want); got != n || !ok {
			t.Errorf("ReadInt(%x): got %d, %v, want %d, true", want, got, ok, n)
		}
	}
	for _, bad := range [][]byte{nil, {0x18}, {0, 0}, {0x40}, {0xf6}, {0x1b, 255, 255, 255, 255, 255, 255, 255, 255}, {0x3b, 255, 255, 255, 255, 255, 255, 255, 255}} {
		if n, ok := task.ReadInt(bad); ok {
			t.Errorf("ReadInt(%x): got %d, true, want false", bad, n)
		}
	}
}
