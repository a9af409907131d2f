package engine_test

import (
	"context"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"reflect"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
	"github.com/tidemill/tidemill/engine/task"
)

// own opens a cluster with a registry of its own, which is closed with the test. It returns the option with which functions
// are registered, and the context of the cluster.
func own(t testing.TB, cfg tidemill.Config) (engine.Option, context.Context) {
	t.Helper()
	cfg.Registry = engine.NewRegistry()
	return engine.In(cfg.Registry), open(t, cfg)
}

// failure returns the error as the failure of a task.
func failure(t *testing.T, err error) *task.Failure {
	t.Helper()
	var f *task.Failure
	if !errors.As(err, &f) {
		t.Fatalf("got error %v (%T), want a *task.Failure", err, err)
	}
	return f
}

// contains checks that the text has all the parts in it.
func contains(t *testing.T, what string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(what, part) {
			t.Errorf("got %q, want %q in it", what, part)
		}
	}
}

type inner struct {
	At    time.Time
	Big   *big.Int
	Names map[string][]int
}

type value struct {
	inner
	I8    int8
	U64   uint64
	F     float64
	Bytes []byte
	Text  string
	Ptr   *int
	Next  *value
	Array [2]bool
	Skip  func() `cbor:"-"`
}

// A value is the same after it has been encoded and decoded as an input and as a result.
func TestValuesAreEncodedWithoutLoss(t *testing.T) {
	seven := 7
	at := time.Date(2026, 11, 22, 1, 2, 3, 456789, time.FixedZone("", 3600))
	ctx := open(t, tidemill.Config{})
	echo(t, ctx, "ints", []int{0, 1, -1, 23, 24, 255, 256, 1 << 16, 1 << 32, -1 << 63, 1<<63 - 1})
	for _, n := range []int{0, -1, 23, 24, 1 << 40, -1 << 63, 1<<63 - 1} {
		echo(t, ctx, "int", n)
		echo(t, ctx, "int64", int64(n))
	}
	echo(t, ctx, "uint64", uint64(1<<64-1))
	echo(t, ctx, "none", engine.None{})
	echo(t, ctx, "text", "a\x00\xff b")
	echo(t, ctx, "empty-text", "")
	echo(t, ctx, "bytes", []byte{0, 255})
	echo(t, ctx, "empty-bytes", []byte{})
	echo(t, ctx, "nil-bytes", []byte(nil))
	echo(t, ctx, "floats", []float64{0, 1.5, 1e300, -0.1})
	echo(t, ctx, "map", map[string]int{"": 0, "\xff": 1})
	echo(t, ctx, "nil-map", map[string]int(nil))
	echo(t, ctx, "pointer", &seven)
	echo(t, ctx, "large", strings.Repeat("x", 1<<20))
	echo(t, ctx, "many", make([]int, 300_000))
	echo(t, ctx, "struct", value{
		inner: inner{at, big.NewInt(0).Lsh(big.NewInt(1), 100), map[string][]int{"a": {1}, "b": nil}},
		I8:    -128, U64: 1<<64 - 1, F: 0.1, Bytes: []byte("b"), Text: "t", Ptr: &seven,
		Next: &value{inner: inner{Big: new(big.Int)}, Array: [2]bool{true, false}},
	})
}

func echo[T any](t *testing.T, ctx context.Context, name string, v T) {
	t.Helper()
	f, ok := echoes[fmt.Sprintf("%T", v)].(*engine.Func[T, T])
	if !ok {
		name := fmt.Sprintf("echo-%d", len(echoes))
		f = engine.NewFunc(name, func(_ context.Context, v T) (T, error) { return v, nil })
		echoes[fmt.Sprintf("%T", v)] = f
	}
	got, err := f.Submit(ctx, v).Get(ctx)
	if err == nil && reflect.DeepEqual(v, got) {
		return
	}
	if diff := cmp.Diff(v, got, cmp.Comparer(func(a, b *big.Int) bool { return a == b || a != nil && b != nil && a.Cmp(b) == 0 }),
		cmp.AllowUnexported(value{}), cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Skip" }, cmp.Ignore())); err != nil || diff != "" {
		t.Errorf("%s: got error %v, want none; value (-sent +got):\n%s", name, err, diff)
	}
}

var echoes = map[string]any{}

func TestSubmitCopiesTheInput(t *testing.T) {
	in, ctx := own(t, tidemill.Config{})
	f := engine.NewFunc("sum", func(_ context.Context, b []byte) (int, error) { return int(b[0]), nil }, in)
	input := []byte{1}
	ref := f.Submit(ctx, input)
	input[0] = 2
	if v, err := ref.Get(ctx); v != 1 || err != nil {
		t.Errorf("got %d, error %v; want 1, the input at the time of Submit", v, err)
	}
}

func TestErrorsAreRetried(t *testing.T) {
	in, ctx := own(t, tidemill.Config{NodeID: "n1"})
	var runs atomic.Int64
	f := engine.NewFunc("fails", func(ctx context.Context, upTo int) (int, error) {
		if runs.Add(1); engine.Attempt(ctx) <= upTo {
			return 0, fmt.Errorf("attempt %d of %s: %w", engine.Attempt(ctx), engine.TaskID(ctx), io.EOF)
		}
		return engine.Attempt(ctx), nil
	}, engine.Retries(1), in)

	if v, err := f.Submit(ctx, 1).Get(ctx); v != 2 || err != nil {
		t.Errorf("got %d, error %v; want 2, the result of the second attempt", v, err)
	}
	runs.Store(0)
	_, err := f.Submit(ctx, 9).Get(ctx)
	got := failure(t, err)
	if runs.Load() != 2 || got.Kind != task.KindError || got.Func != "fails" || got.Attempt != 2 || got.Node != "n1" || got.Task.Number != 2 {
		t.Errorf("got %d runs, failure %+v; want 2 runs, and an error of fails, attempt 2, on n1, of task 2", runs.Load(), got)
	}
	contains(t, got.Message, "attempt 2 of", got.Task.String(), "EOF")
	runs.Store(0)
	if _, err := f.Submit(ctx, 9, engine.Retries(0)).Get(ctx); err == nil || runs.Load() != 1 {
		t.Errorf("with Retries(0): got %d runs, error %v; want 1 run and an error", runs.Load(), err)
	}
}

func TestNonRetryableIsNotRetried(t *testing.T) {
	in, ctx := own(t, tidemill.Config{})
	var runs atomic.Int64
	f := engine.NewFunc("never", func(context.Context, int) (int, error) {
		runs.Add(1)
		return 0, fmt.Errorf("wrapped: %w", engine.NonRetryable(io.EOF))
	}, engine.Retries(5), in)
	_, err := f.Submit(ctx, 0).Get(ctx)
	if got := failure(t, err); got.Message != "wrapped: EOF" || runs.Load() != 1 {
		t.Errorf("got %d runs, error %v; want 1 run, and message \"wrapped: EOF\"", runs.Load(), err)
	}
	if engine.NonRetryable(nil) != nil {
		t.Error("NonRetryable(nil): got an error, want nil")
	}
}

func TestPanicIsAFailureWithStack(t *testing.T) {
	in, ctx := own(t, tidemill.Config{})
	f := engine.NewFunc("panics", func(_ context.Context, why string) (int, error) { panic(why) }, engine.Retries(0), in)
	exits := engine.NewFunc("exits", func(context.Context, int) (int, error) { runtime.Goexit(); return 0, nil }, engine.Retries(0), in)
	_, err := f.Submit(ctx, "out of luck").Get(ctx)
	got := failure(t, err)
	if got.Kind != task.KindPanic || got.Message != "out of luck" {
		t.Errorf("got failure %+v, want kind %v, message \"out of luck\"", got, task.KindPanic)
	}
	contains(t, got.Stack, "TestPanicIsAFailureWithStack", "func_test.go")
	_, err = f.Submit(ctx, strings.Repeat("long ", 1<<20/5)).Get(ctx)
	if n := len(failure(t, err).Message); n > task.MaxText {
		t.Errorf("got a message of %d bytes, want at most %d", n, task.MaxText)
	}
	for range 10 { // more tasks than CPUs: runtime.Goexit must not lose one
		_, err = exits.Submit(ctx, 0).Get(ctx)
		if got := failure(t, err); got.Kind != task.KindExited {
			t.Errorf("runtime.Goexit: got failure %+v, want kind %v", got, task.KindExited)
		}
	}
	if v, err := noopIn(in).Submit(ctx, 3).Get(ctx); v != 3 || err != nil {
		t.Errorf("afterwards: %d, %v", v, err)
	}
}

func noopIn(in engine.Option) *engine.Func[int, int] {
	return engine.NewFunc("noop", func(_ context.Context, n int) (int, error) { return n, nil }, in)
}

type nilError struct{ text string }

func (e *nilError) Error() string { return e.text }

type wildError struct{}

func (wildError) Error() string { panic("in Error") }

// An error whose method Error panics is a failure of its task; the agent runs other tasks.
func TestErrorsThatPanicAreFailures(t *testing.T) {
	in, ctx := own(t, tidemill.Config{})
	for i, bad := range []error{(*nilError)(nil), (*task.Failure)(nil), wildError{}} {
		f := engine.NewFunc(fmt.Sprint("bad", i), func(context.Context, int) (int, error) { return 0, bad }, engine.Retries(0), in)
		if _, err := f.Submit(ctx, 1).Get(ctx); failure(t, err).Kind != task.KindPanic {
			t.Errorf("error %T: got %v, want kind %v", bad, err, task.KindPanic)
		}
	}
	f := engine.NewFunc("wild", func(context.Context, int) (int, error) { panic(wildError{}) }, engine.Retries(0), in)
	if _, err := f.Submit(ctx, 1).Get(ctx); failure(t, err).Kind != task.KindPanic {
		t.Errorf("panic with an error that panics: got %v, want kind %v", err, task.KindPanic)
	}
	if v, err := noopIn(in).Submit(ctx, 3).Get(ctx); v != 3 || err != nil {
		t.Errorf("afterwards: %d, %v", v, err)
	}
}

func TestUnknownFunctionSuggestsAName(t *testing.T) {
	in, ctx := own(t, tidemill.Config{})
	noopIn(in)
	other := engine.NewFunc("nop", func(context.Context, int) (int, error) { return 0, nil }, engine.In(engine.NewRegistry()))
	_, err := other.Submit(ctx, 1).Get(ctx)
	if !errors.Is(err, engine.ErrUnknownFunc) {
		t.Errorf("got error %v, want %v", err, engine.ErrUnknownFunc)
	}
	contains(t, err.Error(), `"nop"`, `did you mean "noop"?`)
}

func TestInfeasibleNamesTheResources(t *testing.T) {
	in, ctx := own(t, tidemill.Config{NodeID: "n1", Resources: map[string]float64{"cpu": 3, "cpu_only_node": 1}})
	f := noopIn(in)
	for _, c := range []struct {
		opt  engine.Option
		want string // a part of the error
	}{
		{engine.CPUs(4), "it needs cpu=4, and no node has that: n1 has cpu=3 cpu_only_node=1 memory="},
		{engine.Resource("cpu_only_nod", 1), `did you mean "cpu_only_node"?`},
		{engine.Memory(1 << 49), "it needs cpu=1 memory=512Ti"},
	} {
		_, err := f.Submit(ctx, 1, c.opt).Get(ctx)
		if !errors.Is(err, engine.ErrInfeasible) {
			t.Errorf("got error %v, want %v", err, engine.ErrInfeasible)
			continue
		}
		contains(t, err.Error(), c.want)
	}
	if v, err := f.Submit(ctx, 5, engine.CPUs(3)).Get(ctx); v != 5 || err != nil {
		t.Errorf("a task with all three CPUs: got %d, error %v; want 5", v, err)
	}
	_, err := f.Submit(ctx, 1, engine.CPUs(0)).Get(ctx)
	contains(t, fmt.Sprint(err), "CPUs(0)")
}

func TestTooLargeValuesAreRefused(t *testing.T) {
	in, ctx := own(t, tidemill.Config{ObjectMemory: 5 << 20})
	f := engine.NewFunc("make", func(_ context.Context, n int) ([]byte, error) { return make([]byte, n), nil }, in)
	g := engine.NewFunc("len", func(_ context.Context, b []byte) (int, error) { return len(b), nil }, in)
	const most = 3 << 20
	whole := f.Submit(ctx, most)
	if v, err := whole.Get(ctx); len(v) != most || err != nil {
		t.Errorf("got %d bytes, error %v; want %d", len(v), err, most)
	}
	whole.Release()
	_, err := f.Submit(ctx, 2*most).Get(ctx)
	if !errors.Is(err, engine.ErrTooLarge) {
		t.Errorf("a large result: got error %v, want %v", err, engine.ErrTooLarge)
	}
	if _, err := g.Submit(ctx, make([]byte, 2*most)).Get(ctx); !errors.Is(err, engine.ErrTooLarge) {
		t.Errorf("a large input: got error %v, want %v", err, engine.ErrTooLarge)
	}
	if _, err := engine.Put(ctx, make([]byte, 2*most)).Get(ctx); !errors.Is(err, engine.ErrTooLarge) {
		t.Errorf("Put of a large value: got error %v, want %v", err, engine.ErrTooLarge)
	}
}

func TestCyclesAreErrors(t *testing.T) {
	in, ctx := own(t, tidemill.Config{})
	type list struct{ Next *list }
	loop := &list{}
	loop.Next = loop
	f := engine.NewFunc("list", func(_ context.Context, l *list) (*list, error) { l.Next = l; return l, nil }, in)
	if _, err := f.Submit(ctx, loop).Get(ctx); failure(t, err).Kind != task.KindInput {
		t.Errorf("a cycle as input: got error %v, want kind %v", err, task.KindInput)
	}
	if _, err := f.Submit(ctx, &list{}).Get(ctx); failure(t, err).Kind != task.KindOutput {
		t.Errorf("a cycle as result: got error %v, want kind %v", err, task.KindOutput)
	}
}

type tree struct {
	Parent *tree `cbor:"-"`
	Kids   []*tree
}

// Fields that are excluded from the encoding may contain cycles.
func TestExcludedFieldsMayBeCycles(t *testing.T) {
	in, ctx := own(t, tidemill.Config{})
	f := engine.NewFunc("kids", func(_ context.Context, r *tree) (int, error) { return len(r.Kids), nil }, in)
	root := &tree{}
	root.Kids = []*tree{{Parent: root}, {Parent: root}}
	if v, err := f.Submit(ctx, root).Get(ctx); v != 2 || err != nil {
		t.Errorf("got %d kids, error %v; want 2", v, err)
	}
}

func TestFunctionsOfTheTaskContext(t *testing.T) {
	in, ctx := own(t, tidemill.Config{NodeID: "here"})
	kept := make(chan context.Context, 1)
	f := engine.NewFunc("self", func(ctx context.Context, _ engine.None) (string, error) {
		kept <- ctx
		engine.Logger(ctx).Debug("a line")
		return fmt.Sprint(engine.NodeID(ctx), engine.TaskID(ctx).Number, engine.Attempt(ctx), ctx.Err()), nil
	}, in)
	if s, err := f.Submit(ctx, engine.None{}).Get(ctx); s != "here1 1 <nil>" || err != nil {
		t.Errorf("got %q, error %v; want \"here1 1 <nil>\" (node, task number, attempt, error of the context)", s, err)
	}
	<-(<-kept).Done() // the context ends with the task
	if engine.NodeID(ctx) != "" || engine.Attempt(ctx) != 0 || !engine.TaskID(ctx).IsZero() || engine.Logger(ctx) == nil {
		t.Errorf("outside of a task: got node %q, attempt %d, task %v; want zero values", engine.NodeID(ctx), engine.Attempt(ctx), engine.TaskID(ctx))
	}
}

func TestWithoutASession(t *testing.T) {
	ctx := context.Background()
	for i, err := range []error{
		second(noop.Submit(ctx, 1).Get(ctx)),
		second(engine.Put(ctx, 1).Get(ctx)),
		engine.Flush(ctx),
		third(engine.Wait(ctx, []engine.Ref[int]{noop.Submit(ctx, 1)}, 1)),
	} {
		if !errors.Is(err, engine.ErrNoSession) {
			t.Errorf("call %d: got error %v, want %v", i, err, engine.ErrNoSession)
		}
	}
	var none *engine.Func[int, int]
	live := open(t, tidemill.Config{})
	contains(t, second(none.Submit(live, 1).Get(live)).Error(), "the *Func is nil", "in init")
	contains(t, second(engine.Ref[int]{}.Get(live)).Error(), "zero Ref")
	<-engine.Ref[int]{}.Done(live)
}

func second[T any](_ T, err error) error      { return err }
func third[T, U any](_ T, _ U, e error) error { return e }

func TestRefRefusesEveryEncoding(t *testing.T) {
	ctx := open(t, tidemill.Config{})
	ref := engine.Put(ctx, 1)
	_, err1 := json.Marshal(map[string]any{"r": ref})
	err2 := gob.NewEncoder(io.Discard).Encode(ref)
	_, err3 := ref.MarshalBinary()
	_, err4 := ref.MarshalText()
	_, err5 := ref.MarshalCBOR()
	for i, err := range []error{err1, err2, err3, err4, err5} {
		if !errors.Is(err, engine.ErrOutOfBand) {
			t.Errorf("encoding %d: got error %v, want %v", i, err, engine.ErrOutOfBand)
		}
	}
}

func TestNewFuncPanics(t *testing.T) {
	r := engine.NewRegistry()
	ok := func(context.Context, int) (int, error) { return 0, nil }
	engine.NewFunc("taken", ok, engine.In(r))
	for want, define := range map[string]func(){
		`"taken" is registered twice`:                    func() { engine.NewFunc("taken", ok, engine.In(r)) },
		`function name "no dots."`:                       func() { engine.NewFunc("no dots.", ok, engine.In(r)) },
		"the function is nil":                            func() { engine.NewFunc[int, int]("a", nil, engine.In(r)) },
		"InOrder is not an option of NewFunc":            func() { engine.NewFunc("b", ok, engine.In(r), engine.InOrder()) },
		"Retries: -1, want 0 to 1000":                    func() { engine.NewFunc("c", ok, engine.In(r), engine.Retries(-1)) },
		"zero Option":                                    func() { engine.NewFunc("d", ok, engine.Option{}) },
		"Inner.hidden: an unexported field":              func() { lossy[struct{ Inner struct{ hidden int } }](r) },
		"A[].B[key]: an interface":                       func() { lossy[struct{ A []struct{ B map[any]int } }](r) },
		"C: a chan cannot be encoded":                    func() { lossy[struct{ C chan int }](r) },
		"F: a func cannot be encoded":                    func() { lossy[struct{ F func() }](r) },
		"E: an interface":                                func() { lossy[struct{ E error }](r) },
		"a complex128 cannot be encoded":                 func() { lossy[complex128](r) },
		"P: a pointer to a pointer":                      func() { lossy[struct{ P **int }](r) },
		`Y: is encoded under the name "x", and so is X`:  func() { lossy[clash](r) },
		"[key]: a Ref or Arrow data cannot be a map key": func() { lossy[map[engine.Ref[int]]int](r) },
		"an embedded Ref hides the other fields":         func() { lossy[struct{ engine.Ref[int] }](r) },
	} {
		func() {
			defer func() { contains(t, fmt.Sprint(recover()), "engine: NewFunc", want) }()
			define()
		}()
	}
}

type clash struct {
	X int `cbor:"x"`
	Y int `cbor:"x"`
}

func lossy[T any](r *engine.Registry) {
	engine.NewFunc("lossy", func(_ context.Context, v T) (T, error) { return v, nil }, engine.In(r))
}

func TestOptionsOfACallAreChecked(t *testing.T) {
	in, ctx := own(t, tidemill.Config{})
	f := noopIn(in)
	_, err := f.Submit(ctx, 1, engine.InOrder()).Get(ctx)
	contains(t, fmt.Sprint(err), "InOrder is not an option of Submit")
	_, err = f.Submit(ctx, 1, engine.Pending(0), engine.CPUs(-1)).Get(ctx)
	contains(t, fmt.Sprint(err), "Pending: 0", "CPUs: ", "cpu=-1")
}
