package task_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/fxamacker/cbor/v2"

	"github.com/tidemill/tidemill/engine/task"
)

// goldenBatches are in testdata/batch.txt.
var goldenBatches = map[string]*task.Batch{
	"one": {
		Owner: "kestrel-4f2a", Class: "cpu", Level: task.Normal,
		Calls: []task.Call{{Func: "square"}},
		Specs: []task.Spec{{Number: 1, Dispatch: task.Dispatch{Attempt: 1}, Input: task.Value{Data: []byte{7}}}},
	},
	"many": {
		Owner: "kestrel-4f2a", Class: "cpu=4-gpu=2", Level: task.Normal,
		Calls: []task.Call{{Func: "square", Retries: 3}, {Func: "thumbnail", Retries: 500}},
		Specs: []task.Spec{
			{Number: 22, Dispatch: task.Dispatch{Attempt: 1}, Input: task.Value{Data: []byte{7}}},
			{Number: 23, Dispatch: task.Dispatch{Attempt: 2}, Input: task.Value{Type: task.Bytes, Data: []byte{0xff, 0xd8}}},
			{Number: 24, Call: 1, Dispatch: task.Dispatch{Attempt: 1, Losses: 3}, Input: task.Value{Type: task.Text, Data: []byte("naïve")}},
			{Number: 25, Call: 1, Dispatch: task.Dispatch{Attempt: 500, Losses: 9}, Input: task.Value{}},
		},
	},
	"widths": {
		Owner: strings.Repeat("o", 23), Class: task.Class(strings.Repeat("c", 24)), Level: "",
		Calls: []task.Call{{Retries: task.MaxAttempts - 1}},
		Specs: []task.Spec{
			{Number: 255, Dispatch: task.Dispatch{Attempt: task.MaxAttempts, Losses: task.MaxAttempts - 1}, Input: task.Value{Type: 255}},
			{Number: 256, Dispatch: task.Dispatch{Attempt: 1}},
			{Number: math.MaxUint16, Dispatch: task.Dispatch{Attempt: 1}},
			{Number: 1 << 16, Dispatch: task.Dispatch{Attempt: 1}},
			{Number: math.MaxUint32, Dispatch: task.Dispatch{Attempt: 1}},
			{Number: 1 << 32, Dispatch: task.Dispatch{Attempt: 1}},
			{Number: math.MaxUint64, Dispatch: task.Dispatch{Attempt: 1}},
		},
	},
	"external": {
		Owner: "kestrel-4f2a", Class: "cpu", Level: task.Normal,
		Calls: []task.Call{{Func: "sum"}},
		Specs: []task.Spec{{Number: 1, Dispatch: task.Dispatch{Attempt: 1}, Input: external}},
	},
	"job": {
		Owner: "nightly-12", Class: "cpu", Level: task.High,
		Calls: []task.Call{{Func: "parse", Retries: 2, Timeout: time.Minute}},
		Specs: []task.Spec{{Number: 1<<32 + 5, Dispatch: task.Dispatch{Attempt: 1}, Digest: digest, Input: task.Value{Data: []byte{7}}}},
	},
}

// external is a value with references, one of them to an object.
var external = task.Value{
	Data: []byte{0x82, 0, 1}, External: &task.External{Refs: []task.Value{
		{Data: []byte{7}},
		{Type: task.Arrow, External: &task.External{Object: &task.Object{Scope: "kestrel-4f2a", ID: [32]byte{1, 2, 31: 32}, Size: 1 << 20}}},
	}},
}

var digest = task.Digest{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}

// goldenRecords are in testdata/record.txt.
var goldenRecords = map[string]*task.Record{
	"one": {Writer: "node-1", Owner: "kestrel-4f2a", Entries: []task.Entry{
		{Number: 1, State: task.OK, Dispatch: task.Dispatch{Attempt: 1}, Ran: 1500 * time.Nanosecond, Value: task.Value{Data: []byte{0x18, 49}}},
	}},
	"states": {Writer: "node-1", Owner: "kestrel-4f2a", Entries: []task.Entry{
		{Number: 22, State: task.OK, Dispatch: task.Dispatch{Attempt: 2, Losses: 1}, Ran: time.Second, Value: task.Value{Type: task.Text, Data: []byte("naïve")}},
		{Number: 23, State: task.OK, Dispatch: task.Dispatch{Attempt: 1}, Value: task.Value{Type: task.Bytes}},
		{Number: 24, State: task.Failed, Dispatch: task.Dispatch{Attempt: 4}, Ran: time.Hour, Failure: &task.Failure{
			Kind: task.KindPanic, Message: "index out of range [3] with length 3", Stack: "goroutine 18 [running]:\nmain.go:7",
		}},
		{Number: 25, State: task.Errored, Dispatch: task.Dispatch{Attempt: 1}, Ran: 20, Failure: &task.Failure{Kind: task.KindError, Message: "no space left"}},
		{Number: 300, State: task.Lost, Dispatch: task.Dispatch{Attempt: 1, Losses: 9}},
		{Number: 70000, State: task.Refused, Dispatch: task.Dispatch{Attempt: 1}},
	}},
	"job": {Writer: "node-1", Owner: "nightly-12", Entries: []task.Entry{
		{Number: 1<<32 + 5, State: task.Started, Dispatch: task.Dispatch{Attempt: 1}, Digest: digest},
		{Number: 1<<32 + 5, State: task.OK, Dispatch: task.Dispatch{Attempt: 1}, Digest: digest, Value: task.Value{Data: []byte{7}}},
		{Number: 6, State: task.Cancelled, Dispatch: task.Dispatch{Attempt: 2}, Failure: &task.Failure{Kind: task.KindCancelled, Message: "by its caller"}},
	}},
	"external": {Writer: "node-1", Owner: "kestrel-4f2a", Entries: []task.Entry{
		{Number: 1, State: task.OK, Dispatch: task.Dispatch{Attempt: 1}, Value: external},
		{Number: 2, State: task.Failed, Dispatch: task.Dispatch{Attempt: 1}, Failure: &task.Failure{
			Kind: task.KindDependency, Message: "its input refers to load (task 1), which failed: no", Causes: []task.Cause{{"load", 1, task.KindError, "no"}},
		}},
	}},
	"errors": {Writer: "node-1", Owner: "kestrel-4f2a", Entries: []task.Entry{
		{Number: 1, State: task.Failed, Dispatch: task.Dispatch{Attempt: 1}, Failure: &task.Failure{
			Kind: task.KindError, Message: "pay: over the limit of 7: EOF", NonRetryable: true, Errors: []task.ErrorInfo{
				{Code: "io.EOF"}, {Code: "over-limit", Type: "*pay.LimitError", Details: []byte(`{"Limit":7}`)}, {Type: "*net.OpError"},
			},
		}},
		{Number: 2, State: task.Cancelled, Unbegun: true, Dispatch: task.Dispatch{Attempt: 1}, Failure: &task.Failure{
			Kind: task.KindCancelled, Message: "by its caller",
		}},
	}},
	"none": {Writer: "kestrel-4f2a", Owner: "kestrel-4f2a"},
	"widths": {Entries: []task.Entry{
		{Number: math.MaxUint32, State: task.OK, Dispatch: task.Dispatch{Attempt: task.MaxAttempts, Losses: task.MaxAttempts - 1}, Ran: math.MaxInt64, Value: task.Value{Type: 255}},
		{Number: math.MaxUint64, State: task.Failed, Dispatch: task.Dispatch{Attempt: 1}, Failure: &task.Failure{Kind: 255}},
	}},
}

// TestGolden compares the encoding with files. Each case prints a message, as bytes and in the diagnostic notation of RFC
// 8949. A difference is a change of the wire: it needs a new version, and old messages must stay readable.
func TestGolden(t *testing.T) {
	missing := map[string]bool{}
	for name := range goldenBatches {
		missing["batch "+name] = true
	}
	for name := range goldenRecords {
		missing["record "+name] = true
	}
	golden := func(t *testing.T, d *datadriven.TestData) string {
		name := d.CmdArgs[0].Key
		delete(missing, d.Cmd+" "+name)
		switch {
		case d.Cmd == "batch" && goldenBatches[name] != nil:
			return goldenBatch(t, goldenBatches[name])
		case d.Cmd == "record" && goldenRecords[name] != nil:
			return goldenRecord(t, goldenRecords[name])
		}
		d.Fatalf(t, "no %s has the name %s", d.Cmd, name)
		return ""
	}
	datadriven.RunTest(t, "testdata/batch.txt", golden)
	datadriven.RunTest(t, "testdata/record.txt", golden)
	for name := range missing {
		t.Errorf("%s: got no case in testdata, want one", name)
	}
}

func goldenBatch(t *testing.T, b *task.Batch) string {
	data := task.AppendBatch(nil, b)
	checkGeneric(t, data, genericBatch(b))
	var got task.Batch
	decodeBatch(t, data, &got)
	if diff := difference(b, &got); diff != "" {
		t.Errorf("decoded: (-want +got)\n%s", diff)
	}
	return dump(t, data)
}

func goldenRecord(t *testing.T, rec *task.Record) string {
	data := encodeRecord(new(task.RecordWriter), nil, rec)
	checkGeneric(t, data, genericRecord(rec))
	var got task.Record
	decodeRecord(t, data, &got)
	if diff := difference(rec, &got); diff != "" {
		t.Errorf("decoded: (-want +got)\n%s", diff)
	}
	return dump(t, data)
}

// dump returns the message in hexadecimal and in diagnostic notation.
func dump(t *testing.T, data []byte) string {
	diagnostic, err := cbor.Diagnose(data)
	if err != nil {
		t.Fatalf("got error %v, want none", err)
	}
	var b strings.Builder
	for rest := data; len(rest) > 0; {
		n := min(32, len(rest))
		fmt.Fprintf(&b, "%x\n", rest[:n])
		rest = rest[n:]
	}
	b.WriteString(folded(diagnostic))
	return b.String()
}

// folded breaks diagnostic notation into lines, one for each item of the message and for each map in an array.
func folded(diagnostic string) string {
	var b strings.Builder
	depth, quoted := 0, false
	for i, c := range diagnostic {
		switch {
		case c == '"' && (i == 0 || diagnostic[i-1] != '\\'):
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			depth--
		case c == ' ' && diagnostic[i-1] == ',' && (depth == 1 || depth == 2 && diagnostic[i+1] == '{'):
			b.WriteString("\n" + strings.Repeat("  ", depth))
			continue
		}
		b.WriteRune(c)
	}
	return b.String()
}
