package task_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/tidemill/tidemill/engine/task"
)

// Messages are made here by another library, so that they have no fault but the intended one.

// keyed is a CBOR map with integer keys.
type keyed = map[int]any

// with returns m with these other fields.
func with(m, others keyed) keyed {
	m = maps.Clone(m)
	maps.Copy(m, others)
	return m
}

var (
	goodCall  = keyed{1: "square", 2: 3}
	goodSpec  = keyed{1: 7, 2: 0, 3: 1, 4: 2, 5: 1, 6: []byte("x")}
	goodBatch = keyed{0: 1, 1: "o", 2: "cpu", 3: "normal", 4: []any{goodCall}, 5: []any{goodSpec}}

	goodFailure = keyed{1: 2, 2: "why", 3: "where"}
	goodEntry   = keyed{1: 2, 2: 1, 3: 2, 4: 1000, 5: 1, 7: goodFailure}
	goodRecord  = []any{1, "w", "o", []int{7}, []byte{}, []any{goodEntry}}
)

// record returns a good record with another item at this place.
func record(place int, item any) []any {
	rec := slices.Clone(goodRecord)
	rec[place] = item
	return rec
}

func wire(t testing.TB, message any) []byte {
	t.Helper()
	mode, err := cbor.CoreDetEncOptions().EncMode() // sorted keys, so that a failure can be repeated
	if err != nil {
		t.Fatalf("got error %v, want none", err)
	}
	data, err := mode.Marshal(message)
	if err != nil {
		t.Fatalf("got error %v, want none", err)
	}
	return data
}

// message is a batch or a record, for tests of both.
type message struct {
	name   string
	good   any
	decode func(data []byte) error
}

var messages = []message{
	{"batch", goodBatch, func(data []byte) error { return task.DecodeBatch(data, new(task.Batch)) }},
	{"record", goodRecord, func(data []byte) error { return task.DecodeRecord(data, new(task.Record)) }},
}

// The messages that the other tests change are good.
func TestGoodMessages(t *testing.T) {
	for _, m := range messages {
		if err := m.decode(wire(t, m.good)); err != nil {
			t.Errorf("%s: got error %v, want none", m.name, err)
		}
	}
}

// Writers may order keys as they like: the specs may precede the calls.
func TestKeysInAnyOrder(t *testing.T) {
	unordered, err := cbor.EncOptions{Sort: cbor.SortFastShuffle}.EncMode()
	if err != nil {
		t.Fatalf("got error %v, want none", err)
	}
	for range 100 {
		for _, m := range messages {
			data, err := unordered.Marshal(m.good)
			if err != nil {
				t.Fatalf("got error %v, want none", err)
			}
			if err := m.decode(data); err != nil {
				t.Errorf("%s: got error %v, want none: %x", m.name, err, data)
			}
		}
	}
}

func TestEveryTruncationIsAnError(t *testing.T) {
	var w task.RecordWriter
	whole := map[string][][]byte{"batch": {wire(t, goodBatch)}, "record": {wire(t, goodRecord)}}
	for _, b := range goldenBatches {
		whole["batch"] = append(whole["batch"], task.AppendBatch(nil, b))
	}
	for _, rec := range goldenRecords {
		whole["record"] = append(whole["record"], encodeRecord(&w, nil, rec))
	}
	for _, m := range messages {
		for _, data := range whole[m.name] {
			for n := range data {
				if err := m.decode(slices.Clone(data[:n])); err == nil {
					t.Errorf("%s: the first %d bytes of %x: got no error, want one", m.name, n, data)
				}
			}
		}
	}
}

func TestBytesAfterTheEndAreAnError(t *testing.T) {
	for _, m := range messages {
		for _, extra := range []string{"\x00", "\xa0", "\xff", "some more"} {
			err := m.decode(append(wire(t, m.good), extra...))
			if want := fmt.Sprintf("%d bytes after the end", len(extra)); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got error %v, want %s", m.name, err, want)
			}
		}
	}
}

// A message with one changed byte may be good or not, but never causes a panic.
func TestChangedBytes(t *testing.T) {
	for _, m := range messages {
		good := wire(t, m.good)
		for i := range good {
			for b := range 256 {
				data := slices.Clone(good)
				data[i] = byte(b)
				_ = m.decode(data)
			}
		}
	}
}

// items are one of each major type, and some that our writers never write.
var items = map[string][]byte{
	"number": {0x01}, "negative": {0x20}, "bytes": {0x41, 'x'}, "text": {0x61, 'x'}, "array": {0x81, 0x01},
	"map": {0xa1, 0x18, 99, 0x01}, "tag": {0xc1, 0x01}, "false": {0xf4}, "null": {0xf6}, "float": {0xf9, 0, 0},
	"indefinite bytes": {0x5f, 0xff}, "indefinite array": {0x9f, 0xff}, "indefinite map": {0xbf, 0xff},
	"reserved": {0x1c}, "break": {0xff},
}

func TestWrongTypes(t *testing.T) {
	places := []struct {
		name    string
		message message
		good    string // the name of the item that is allowed there
		put     func(item any) any
	}{
		{"message", messages[0], "", func(item any) any { return item }},
		{"message", messages[1], "", func(item any) any { return item }},
		{"calls", messages[0], "", func(item any) any { return with(goodBatch, keyed{4: item}) }},
		{"a call", messages[0], "map", func(item any) any { return with(goodBatch, keyed{4: []any{item}}) }},
		{"specs", messages[0], "", func(item any) any { return with(goodBatch, keyed{5: item}) }},
		{"a spec", messages[0], "map", func(item any) any { return with(goodBatch, keyed{5: []any{item}}) }},
		{"numbers", messages[1], "array", func(item any) any { return record(3, item) }},
		{"a number", messages[1], "number", func(item any) any { return record(3, []any{item}) }},
		{"body", messages[1], "", func(item any) any { return record(5, item) }},
		{"an entry", messages[1], "map", func(item any) any { return record(5, []any{item}) }},
	}
	add := func(name string, m message, good string, put func(item any) any) {
		places = append(places, struct {
			name    string
			message message
			good    string
			put     func(item any) any
		}{name, m, good, put})
	}
	for key, good := range map[int]string{0: "number", 1: "text", 2: "text", 3: "text"} {
		add(fmt.Sprint("batch field ", key), messages[0], good, func(item any) any { return with(goodBatch, keyed{key: item}) })
	}
	for key, good := range map[int]string{1: "text", 2: "number"} {
		add(fmt.Sprint("call field ", key), messages[0], good, func(item any) any {
			return with(goodBatch, keyed{4: []any{with(goodCall, keyed{key: item})}})
		})
	}
	for key, good := range map[int]string{1: "number", 2: "", 3: "number", 4: "number", 5: "number", 6: "bytes"} {
		add(fmt.Sprint("spec field ", key), messages[0], good, func(item any) any {
			return with(goodBatch, keyed{5: []any{with(goodSpec, keyed{key: item})}})
		})
	}
	for place, good := range map[int]string{0: "number", 1: "text", 2: "text", 4: "bytes"} {
		add(fmt.Sprint("envelope item ", place), messages[1], good, func(item any) any { return record(place, item) })
	}
	for key, good := range map[int]string{1: "number", 2: "number", 3: "number", 4: "number", 5: "number", 6: "bytes", 7: "map"} {
		add(fmt.Sprint("entry field ", key), messages[1], good, func(item any) any {
			return record(5, []any{with(goodEntry, keyed{key: item})})
		})
	}
	for key, good := range map[int]string{1: "number", 2: "text", 3: "text"} {
		add(fmt.Sprint("failure field ", key), messages[1], good, func(item any) any {
			return record(5, []any{with(goodEntry, keyed{7: with(goodFailure, keyed{key: item})})})
		})
	}
	for _, place := range places {
		for kind, item := range items {
			data := replaced(t, place.put, item)
			err := place.message.decode(data)
			switch good := kind == place.good; {
			case good && place.name == "a spec" || good && place.name == "an entry": // a required field is missing in the map
			case (err == nil) != good:
				t.Errorf("%s with %s in the place of %s: got error %v, want one: %t: %x", place.message.name, kind, place.name, err, !good, data)
			}
		}
	}
}

// replaced encodes the message that put returns for an item, with these bytes in the place of the item.
func replaced(t *testing.T, put func(item any) any, item []byte) []byte {
	mark := uint64(0xfeedfacecafebeef)
	data := wire(t, put(mark))
	marked := wire(t, mark)
	if bytes.Count(data, marked) != 1 {
		t.Fatalf("the mark in %x: got %d, want 1", data, bytes.Count(data, marked))
	}
	return bytes.Replace(data, marked, item, 1)
}

func TestInvalidBatches(t *testing.T) {
	spec := func(others keyed) keyed { return with(goodBatch, keyed{5: []any{with(goodSpec, others)}}) }
	for want, m := range map[string]any{
		"version 2, want 1":         with(goodBatch, keyed{0: 2}),
		"version 0, want 1":         keyed{1: "o", 4: []any{goodCall}, 5: []any{goodSpec}},
		"no specs":                  with(goodBatch, keyed{5: []any{}}),
		"spec 0: number 0":          spec(keyed{1: 0}),
		"call 1 of 1":               spec(keyed{2: 1}),
		"call 0 of 0":               with(goodBatch, keyed{4: []any{}}),
		"less than 65536":           spec(keyed{2: task.MaxSpecs}),
		"number 1048576, want less": spec(keyed{3: task.MaxAttempts}),
		"number 1048577, want less": spec(keyed{4: task.MaxAttempts + 1}),
		"number 256, want less":     spec(keyed{5: 256}),
		"number 1048578, want less": with(goodBatch, keyed{4: []any{keyed{2: task.MaxAttempts + 2}}}),
		"65537 specs, at most":      with(goodBatch, keyed{5: slices.Repeat([]any{goodSpec}, task.MaxSpecs+1)}),
		"major type 3, want 0":      map[any]any{"owner": "o"},
		"major type 1, want 0":      map[any]any{-1: "o"},
	} {
		err := messages[0].decode(wire(t, m))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "task: decode batch: ") {
			t.Errorf("got error %v, want %q", err, want)
		}
	}
}

func TestInvalidRecords(t *testing.T) {
	entry := func(others keyed) []any { return record(5, []any{with(goodEntry, others)}) }
	for want, m := range map[string]any{
		"envelope of 5 items":       goodRecord[:5],
		"envelope of 7 items":       append(slices.Clone(goodRecord), 1),
		"envelope of 0 items":       []any{},
		"1 entries, 2 numbers":      record(3, []int{7, 8}),
		"2 entries, 1 numbers":      record(5, []any{goodEntry, goodEntry}),
		"entry 0: task 0":           record(3, []int{0}),
		"task 7, state 0":           entry(keyed{1: 0}),
		"task 7, state 9":           entry(keyed{1: 9}),
		"a digest of 3 bytes":       entry(keyed{1: 1, 8: []byte{1, 2, 3}}),
		"number 256, want less":     entry(keyed{1: 256}),
		"number 1048576, want less": entry(keyed{2: task.MaxAttempts}),
		"number 1048577, want less": entry(keyed{3: task.MaxAttempts + 1}),
		"number 257, want less":     entry(keyed{5: 257}),
		"number 258, want less":     entry(keyed{7: keyed{1: 258}}),
		"65537 entries, at most":    []any{1, "w", "o", make([]int, task.MaxSpecs+1), []byte{}, slices.Repeat([]any{goodEntry}, task.MaxSpecs+1)},
		"message ends early":        record(5, []any{}),
	} {
		err := messages[1].decode(wire(t, m))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "task: decode record: ") {
			t.Errorf("got error %v, want %q", err, want)
		}
		if errors.Is(err, task.ErrVersion) {
			t.Errorf("got %v, which is %v: want another error, at which readers do not stop", err, task.ErrVersion)
		}
	}
}

// A record of another version stops its reader, whatever its body is: skipping it could change an outcome. A message
// without the envelope is no record of any version.
func TestRecordVersions(t *testing.T) {
	for _, version := range []any{0, 2, 24, 1 << 40} {
		for _, body := range []any{[]any{goodEntry}, []any{}, "compressed", 7, nil} {
			m := record(5, body)
			m[0] = version
			var rec task.Record
			err := task.DecodeRecord(wire(t, m), &rec)
			if !errors.Is(err, task.ErrVersion) || !strings.Contains(err.Error(), "record of o:") {
				t.Errorf("version %v, body %v: got error %v, want %v for a record of o", version, body, err, task.ErrVersion)
			}
			if rec.Owner != "o" || rec.Writer != "w" || len(rec.Entries) != 1 || rec.Entries[0].Number != 7 {
				t.Errorf("version %v: envelope: got %+v, want writer w, owner o, task 7", version, rec)
			}
		}
		for place, item := range map[int]any{1: 7, 2: 7, 3: "numbers", 4: "signature"} {
			m := record(place, item)
			m[0] = version
			if err := messages[1].decode(wire(t, m)); err == nil || errors.Is(err, task.ErrVersion) {
				t.Errorf("version %v, item %d is %v: got error %v, want one that is not %v", version, place, item, err, task.ErrVersion)
			}
		}
	}
}

// Later programs may add keys with values of any type, which this one skips.
func TestUnknownKeysAreSkipped(t *testing.T) {
	deep := any("leaf")
	for range 12 {
		deep = []any{deep}
	}
	for _, value := range []any{
		0, -1 << 40, 1.5, float32(1e30), "text", []byte("bytes"), true, nil,
		[]any{},
		[]any{1, []any{"two", keyed{3: "four"}}},
		keyed{},
		keyed{1: keyed{2: []any{3}}},
		cbor.Tag{Number: 1000, Content: []any{"tagged"}},
		cbor.SimpleValue(99), deep,
	} {
		later := keyed{99: value, 1 << 40: value}
		b := with(goodBatch, with(later, keyed{4: []any{with(goodCall, later)}, 5: []any{with(goodSpec, later)}}))
		var got, want task.Batch
		decodeBatch(t, wire(t, goodBatch), &want)
		decodeBatch(t, wire(t, b), &got)
		if diff := difference(want, got); diff != "" {
			t.Errorf("with unknown keys of value %v: (-want +got)\n%s", value, diff)
		}
		var gotRecord, wantRecord task.Record
		decodeRecord(t, wire(t, goodRecord), &wantRecord)
		entry := with(goodEntry, with(later, keyed{7: with(goodFailure, later)}))
		decodeRecord(t, wire(t, record(5, []any{entry})), &gotRecord)
		if diff := difference(wantRecord, gotRecord); diff != "" {
			t.Errorf("with unknown keys of value %v: (-want +got)\n%s", value, diff)
		}
	}
}

// Indefinite lengths, and lengths that RFC 8949 reserves, are refused.
func TestIndefiniteLengthsAreAnError(t *testing.T) {
	for low := byte(28); low < 32; low++ {
		for major := range byte(8) {
			item := append([]byte{major<<5 | low}, make([]byte, 300)...)
			data := replaced(t, func(item any) any { return with(goodBatch, keyed{99: item}) }, item)
			err := messages[0].decode(data)
			if want := fmt.Sprintf("first byte %#x", item[0]); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got error %v, want %s", err, want)
			}
		}
	}
}

// The run time of an entry is never negative, whatever a writer has sent.
func TestRanIsNotNegative(t *testing.T) {
	for _, ran := range []uint64{1 << 63, 1<<64 - 1} {
		var rec task.Record
		decodeRecord(t, wire(t, record(5, []any{with(goodEntry, keyed{4: ran})})), &rec)
		if got := rec.Entries[0].Ran; got < 0 {
			t.Errorf("run time %#x: got %v, want at least 0", ran, got)
		}
	}
	data := encodeRecord(new(task.RecordWriter), nil, &task.Record{Entries: []task.Entry{{Number: 1, State: task.Lost, Ran: -1}}})
	var rec task.Record
	decodeRecord(t, data, &rec)
	if got := rec.Entries[0].Ran; got != 0 {
		t.Errorf("run time -1ns: got %v, want 0", got)
	}
}

// Nesting takes stack, so its depth is limited: a million levels are an error.
func TestDeepNestingIsAnError(t *testing.T) {
	const levels = 1 << 20
	for name, level := range map[string][]byte{"array": {0x81}, "map": {0xa1, 0x01}, "key": {0xa1}, "tag": {0xc1}} {
		item := append(bytes.Repeat(level, levels), 0x01)
		for _, m := range []struct {
			message message
			put     func(item any) any
		}{
			{messages[0], func(item any) any { return with(goodBatch, keyed{99: item}) }},
			{messages[0], func(item any) any { return with(goodBatch, keyed{5: []any{with(goodSpec, keyed{99: item})}}) }},
			{messages[1], func(item any) any { return record(5, []any{with(goodEntry, keyed{99: item})}) }},
		} {
			err := m.message.decode(replaced(t, m.put, item))
			if err == nil || !strings.Contains(err.Error(), "nested too deeply") {
				t.Errorf("nested %s in a %s: got error %v, want one", name, m.message.name, err)
			}
		}
	}
}

// A length that the message cannot hold leads to an error before anything is allocated for it.
func TestHugeCountsAllocateLittle(t *testing.T) {
	const limitBytes = 64 << 10 // the rest of the program allocates, too
	for _, count := range [][]byte{
		{26, 0xff, 0xff, 0xff, 0xff},
		{27, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		{27, 0x80, 0, 0, 0, 0, 0, 0, 0},
		{27, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
	} {
		of := func(major byte) string { return string([]byte{major<<5 | count[0]}) + string(count[1:]) }
		octets, text, array, pairs := of(2), of(3), of(4), of(5)
		for _, data := range []string{
			pairs, "\xa1\x04" + array, "\xa1\x05" + array, "\xa1\x05\x81" + pairs, "\xa1\x04\x81" + pairs,
			"\xa1\x01" + text, "\xa1\x05\x81\xa1\x06" + octets, "\xa1\x09" + array, "\xa1\x09" + pairs, "\xa1\x09" + text,
			"\xa1\x05" + array + "\xa1\x01\x01\xa1\x01\x01", "\xa1\x18\x63\x81" + array,
		} {
			checkAllocates(t, messages[0], []byte(data), limitBytes)
		}
		const head, one = "\x86\x01\x60\x60", "\x86\x01\x60\x60\x81\x01\x40\x81"
		for _, data := range []string{
			array, "\x86\x01" + text, head + array, head + "\x80" + octets, head + "\x80\x40" + array,
			one + pairs, one + "\xa1\x07" + pairs, one + "\xa1\x06" + octets, one + "\xa1\x09" + array,
		} {
			checkAllocates(t, messages[1], []byte(data), limitBytes)
		}
	}
}

// What decoding allocates is at most a small multiple of the message's length. (At most 20 times for what is returned, twice
// that under the race detector, and 56 times for failures that replace each other.)
func TestLengthBoundsMemory(t *testing.T) {
	const size, multiple = 1 << 16, 64
	fill := func(head string, itemBytes int, item byte) []byte { // claims as many items as the length allows
		n := size / itemBytes
		return append([]byte(head+string([]byte{0x99, byte(n >> 8), byte(n)})), bytes.Repeat([]byte{item}, size)...)
	}
	checkAllocates(t, message{name: "value", decode: func(data []byte) error { _, err := task.DecodeValue(data); return err }}, fill("\xa1\x04", 3, 0xa0), multiple*size)
	for _, data := range [][]byte{
		fill("\xa1\x05", 5, 0xa0), fill("\xa1\x05", 5, 0), fill("\xa1\x04", 3, 0xa0), fill("\xa1\x09", 2, 0xa0),
	} {
		checkAllocates(t, messages[0], data, multiple*size)
	}
	failures := append([]byte("\x86\x01\x60\x60\x81\x01\x40\x81\xb9\x7f\x00"), bytes.Repeat([]byte{7, 0xa0}, size/2)...)
	for _, data := range [][]byte{
		fill("\x86\x01\x60\x60", 4, 1), fill("\x86\x01\x60\x60", 2, 1), fill("\x86\x01\x60\x60\x80\x40", 3, 0xa0), failures,
	} {
		checkAllocates(t, messages[1], data, multiple*size)
	}
}

// checkAllocates checks that decoding the message is an error and allocates at most so many bytes.
func checkAllocates(t *testing.T, m message, data []byte, limitBytes uint64) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err := m.decode(data)
	runtime.ReadMemStats(&after)
	shown := data[:min(len(data), 32)]
	if err == nil {
		t.Errorf("%s %x…: got no error, want one", m.name, shown)
	}
	if allocated := after.TotalAlloc - before.TotalAlloc; allocated > limitBytes {
		t.Errorf("%s %x… of %d bytes: got %d bytes allocated, want at most %d", m.name, shown, len(data), allocated, limitBytes)
	}
}
