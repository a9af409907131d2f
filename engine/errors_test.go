package engine_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
	"github.com/tidemill/tidemill/engine/task"
)

var errRefused = engine.RegisterError("test-refused", errors.New("card refused"))

type overLimit struct{ Limit int }

func (e *overLimit) Error() string { return fmt.Sprint("over the limit of ", e.Limit) }

func init() { engine.RegisterErrorType[*overLimit]("test-over-limit") }

// errorNamed returns the error of that name.
func errorNamed(name string) error {
	_, noFile := os.Open("/no/such/file")
	return map[string]error{
		"no file": noFile, "end": fmt.Errorf("read: %w", io.EOF), "late": context.DeadlineExceeded, "refused": errors.Join(io.ErrNoProgress, errRefused),
		"limit": fmt.Errorf("pay: %w", &overLimit{7}), "full": engine.ErrPendingFull,
	}[name]
}

// A caller tells errors apart after their way over the wire, also when the failed task is the child of another one, or the
// input of one, and when the function has panicked with the error.
func TestErrorsAreToldApart(t *testing.T) {
	in, ctx := own(t, tidemill.Config{})
	fails := engine.NewFunc("fails", func(_ context.Context, name string) (string, error) { return "", errorNamed(name) }, in, engine.Retries(0))
	panics := engine.NewFunc("panics", func(_ context.Context, name string) (string, error) { panic(errorNamed(name)) }, in, engine.Retries(0))
	asks := engine.NewFunc("asks", func(ctx context.Context, name string) (string, error) {
		_, err := fails.Submit(ctx, name).Get(ctx)
		return "", fmt.Errorf("ask: %w", errors.Join(errors.New("it failed"), err))
	}, in, engine.Retries(0))
	all := map[string]error{
		"no file": fs.ErrNotExist, "end": io.EOF, "late": context.DeadlineExceeded, "refused": errRefused, "full": engine.ErrPendingFull, "limit": nil,
	}
	for name := range all {
		for way, ref := range map[string]engine.Ref[string]{
			"fails": fails.Submit(ctx, name), "panics": panics.Submit(ctx, name), "asks": asks.Submit(ctx, name), "depends": asks.SubmitRef(ctx, fails.Submit(ctx, name)),
		} {
			_, err := ref.Get(ctx)
			for other, target := range all {
				if target != nil && errors.Is(err, target) != (name == other) {
					t.Errorf("%s, %s: is %v %v: got %v, want %v", way, name, err, target, name != other, name == other)
				}
			}
			limit, ok := errors.AsType[*overLimit](err)
			if ok != (name == "limit") || ok && limit.Limit != 7 {
				t.Errorf("%s, %s: got the limit %+v in %v, want 7, only for limit", way, name, limit, err)
			}
		}
	}
}

type secretive struct{ code int }

func (s secretive) Error() string { return fmt.Sprint("secret ", s.code) }

// Registering what cannot work panics, and says why.
func TestRegisterErrorRefuses(t *testing.T) {
	for want, register := range map[string]func(){
		"want 1 to 64":       func() { _ = engine.RegisterError("With Spaces", io.EOF) },
		"is nil":             func() { _ = engine.RegisterError("test-nil", nil) },
		"registered twice":   func() { _ = engine.RegisterError("test-refused", io.EOF) },
		"registered already": func() { engine.RegisterErrorType[*overLimit]("test-again") },
		"code":               func() { engine.RegisterErrorType[secretive]("test-secret") },
		"an interface":       func() { engine.RegisterErrorType[error]("test-any") },
	} {
		func() {
			defer func() {
				if text := fmt.Sprint(recover()); !strings.Contains(text, want) || !strings.Contains(text, "engine: RegisterError") {
					t.Errorf("got %q, want a panic with %q", text, want)
				}
			}()
			register()
		}()
	}
}

// What another attempt would not avoid in a child, it would not avoid in the parent that hands the failure on.
func TestNonRetryableOfAChild(t *testing.T) {
	in, ctx := own(t, tidemill.Config{})
	charge := engine.NewFunc("charge", func(context.Context, int) (int, error) { return 0, engine.NonRetryable(errRefused) }, in)
	for name, test := range map[string]struct {
		runs   int64
		handOn func(context.Context, error) error
		opts   []engine.Option
	}{
		"as-it-is":  {1, func(_ context.Context, err error) error { return err }, nil},
		"wrapped":   {1, func(_ context.Context, err error) error { return fmt.Errorf("order 7: %w", err) }, nil},
		"joined":    {1, func(_ context.Context, err error) error { return errors.Join(io.EOF, err) }, nil},
		"panic":     {1, func(_ context.Context, err error) error { panic(err) }, nil},
		"text":      {2, func(_ context.Context, err error) error { return errors.New(err.Error()) }, nil},
		"too-late":  {1, func(ctx context.Context, err error) error { <-ctx.Done(); return err }, []engine.Option{engine.Timeout(100 * time.Millisecond)}},
		"late-text": {2, func(ctx context.Context, _ error) error { <-ctx.Done(); return io.EOF }, []engine.Option{engine.Timeout(100 * time.Millisecond)}},
	} {
		var runs atomic.Int64
		order := engine.NewFunc(name, func(ctx context.Context, _ int) (int, error) {
			runs.Add(1)
			_, err := charge.Submit(ctx, 1).Get(ctx)
			return 0, test.handOn(ctx, err)
		}, append(test.opts, in, engine.Retries(1))...)
		_, err := order.Submit(ctx, 1).Get(ctx)
		if f := failure(t, err); runs.Load() != test.runs || f.NonRetryable != (test.runs == 1) {
			t.Errorf("%s: got %d runs and %v, NonRetryable %v; want %d runs", name, runs.Load(), err, f.NonRetryable, test.runs)
		}
	}
}

// A failure has the last attempt that began: 0 if none did.
func TestAttemptOfAFailure(t *testing.T) {
	in, ctx := own(t, oneCPU)
	running := make(chan string, 8)
	work := engine.NewFunc("work", func(_ context.Context, n int) (int, error) { return n, nil }, in)
	fail := engine.NewFunc("fail", func(context.Context, int) (int, error) { running <- "fail"; return 0, errors.New("no") }, in, engine.Retries(9))
	sleep := engine.NewFunc("sleep", func(ctx context.Context, _ int) (int, error) {
		running <- "sleep"
		<-ctx.Done()
		return 0, ctx.Err()
	}, in)
	children := engine.NewFunc("children", func(ctx context.Context, _ int) ([]int, error) { // runs on the only CPU
		refs := []engine.Ref[int]{work.Submit(ctx, 1), work.Submit(ctx, 2, engine.Delay(time.Hour)), sleep.Submit(ctx, 1)}
		if err := refs[0].Cancel(ctx); err != nil {
			return nil, err
		}
		if err := refs[1].Cancel(ctx); err != nil {
			return nil, err
		}
		go func() { <-running; _ = refs[2].Cancel(ctx) }()
		var attempts []int
		for _, ref := range refs {
			_, err := ref.Get(ctx)
			attempts = append(attempts, failure(t, err).Attempt)
		}
		return attempts, nil
	}, in, engine.Retries(0))
	attempts, err := children.Submit(ctx, 1).Get(ctx)
	if want := []int{0, 0, 1}; err != nil || !reflect.DeepEqual(attempts, want) {
		t.Errorf("children, cancelled in the queue, delayed and at work: got attempts %v, error %v; want %v", attempts, err, want)
	}

	later, begun := work.Submit(ctx, 1, engine.Delay(time.Hour)), sleep.Submit(ctx, 1)
	waits := work.SubmitRef(ctx, later)
	<-running
	again := fail.Submit(ctx, 1) // attempts follow each other in some 100 ms
	for _, ref := range []engine.Ref[int]{waits, later, begun} {
		if err := ref.Cancel(ctx); err != nil {
			t.Errorf("cancel: got %v, want no error", err)
		}
	}
	<-running
	select { // it waits for its second attempt then
	case <-time.NewTimer(20 * time.Millisecond).C:
	case <-ctx.Done():
	}
	if err := again.Cancel(ctx); err != nil {
		t.Errorf("cancel: got %v, want no error", err)
	}
	release := make(chan struct{})
	stubborn := engine.NewFunc("stubborn", func(context.Context, int) (int, error) { running <- "stubborn"; <-release; return 1, nil }, in)
	deaf := stubborn.Submit(ctx, 1) // its owner ends it, and not its agent
	<-running
	if err := deaf.Cancel(ctx); err != nil {
		t.Errorf("cancel: got %v, want no error", err)
	}
	close(release)
	expired := work.Submit(ctx, 1, engine.Delay(time.Hour), engine.Deadline(10*time.Millisecond))
	ofFailed := work.SubmitRef(ctx, again)
	for name, test := range map[string]struct {
		ref  engine.Ref[int]
		want int
	}{
		"delayed": {later, 0}, "waiting for its input": {waits, 0}, "running": {begun, 1}, "running on": {deaf, 1}, "between two attempts": {again, 1}, "expired": {expired, 0},
		"of a failed input": {ofFailed, 0}, "infeasible": {work.Submit(ctx, 1, engine.CPUs(1<<20)), 0},
	} {
		_, err := test.ref.Get(ctx)
		if f := failure(t, err); f.Attempt != test.want {
			t.Errorf("%s: got attempt %d of %v, want %d", name, f.Attempt, f, test.want)
		}
	}
}

// Texts say what was tried with what, and not what did not happen.
func TestErrorTexts(t *testing.T) {
	in, ctx := own(t, tidemill.Config{ObjectMemory: 1 << 20})
	length := engine.NewFunc("length", func(_ context.Context, b []byte) (int, error) { return len(b), nil }, in)
	orphan := make(chan error, 1)
	child := engine.NewFunc("child", func(ctx context.Context, _ int) (int, error) { <-ctx.Done(); return 0, ctx.Err() }, in)
	parent := engine.NewFunc("parent", func(ctx context.Context, _ int) (int, error) {
		r := child.Submit(ctx, 1)
		go func() { _, err := r.Get(context.WithoutCancel(ctx)); orphan <- err }()
		return 0, nil
	}, in)
	if _, err := parent.Submit(ctx, 1).Get(ctx); err != nil {
		t.Fatal(err)
	}
	over, end := context.WithCancel(ctx)
	end()
	huge := engine.Put(ctx, make([]byte, 2<<20))
	texts := map[string]error{"cancelled: parent (task /, which submitted it, has ended": <-orphan}
	_, texts["length: dependency failed: its input refers to a value that could not be put, which failed: too large: "] = length.SubmitRef(ctx, huge).Get(ctx)
	_, texts["too large: put a value of 2097152 bytes"] = huge.Get(ctx)
	_, texts["engine: submit length: context canceled"] = length.Submit(over, nil).Get(ctx)
	_, texts["engine: put a value: context canceled"] = engine.Put(over, []engine.Ref[int]{length.Submit(ctx, nil, engine.Delay(time.Hour))}).Get(ctx)
	waits := length.Submit(ctx, nil, engine.Delay(time.Hour))
	_, texts["engine: get length (task /): context canceled"] = waits.Get(over)
	texts["engine: cancel length (task /): context canceled"] = length.Submit(ctx, nil, engine.Delay(time.Hour)).Cancel(over)
	_, texts["engine: export length (task /): a time to live of 0s"] = waits.Export(ctx, 0)
	_, texts["engine: import: nothing is exported under this token"] = engine.Import[int](ctx, strings.Repeat("a", 26))
	_, texts["engine: submit length: "+engine.ErrNoSession.Error()] = length.Submit(t.Context(), nil).Get(ctx)
	for want, err := range texts {
		if err == nil {
			t.Errorf("got no error, want one with %q", want)
			continue
		}
		contains(t, err.Error(), strings.Split(want, "/")...)
		if strings.Contains(err.Error(), "get:") || strings.Contains(err.Error(), "  ") || strings.Contains(err.Error(), " ,") || strings.Contains(err.Error(), "caller's request") {
			t.Errorf("got %q, want a text without \"get:\" and \"caller's request\"", err)
		}
	}
	if _, err := length.Submit(over, nil).Get(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that it is context.Canceled", err)
	}
	if f := failure(t, texts["cancelled: parent (task /, which submitted it, has ended"]); f.Kind != task.KindCancelled {
		t.Errorf("got %v, want a failure of the kind cancelled", f)
	}
}

// A result that a former run has recorded with another type says so, and what to do.
func TestResultOfAFormerRunOfAnotherType(t *testing.T) {
	dir := t.TempDir()
	run := func(submit func(ctx context.Context, in engine.Option) error) error {
		registry := engine.NewRegistry()
		c, err := tidemill.Open(t.Context(), tidemill.Config{Dir: dir, Job: "prices", Registry: registry})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := c.Close(t.Context()); err != nil {
				t.Errorf("Close: got %v, want no error", err)
			}
		}()
		return submit(c.Context(t.Context()), engine.In(registry))
	}
	if err := run(func(ctx context.Context, in engine.Option) error {
		_, err := engine.NewFunc("price", func(_ context.Context, n int) (int, error) { return n, nil }, in).Submit(ctx, 7).Get(ctx)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	err := run(func(ctx context.Context, in engine.Option) error {
		_, err := engine.NewFunc("price", func(context.Context, int) (string, error) { return "", nil }, in).Submit(ctx, 7).Get(ctx)
		return err
	})
	if f := failure(t, err); f.Func != "price" || f.Kind != task.KindOutput {
		t.Errorf("got %v, want a failure of price, of the kind output", f)
	}
	contains(t, err.Error(), "price", "former run", "Version", "string")
}
