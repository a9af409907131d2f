package enginetest_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidemill/tidemill/engine"
	"github.com/tidemill/tidemill/engine/enginetest"
	"github.com/tidemill/tidemill/engine/task"
)

var (
	seeds = flag.Int("seeds", 200, "how many simulations TestSimulation runs")
	seed  = flag.Uint64("seed", 0, "the first simulation's seed, or the only one's; 0 = any, and -seeds of them")
)

// TestSimulation runs programs of 100 to 300 tasks on clusters whose connections lose, repeat and delay
// messages and are cut, and whose nodes die. Whatever happens: no task is lost, each outcome is decided
// once, as the task's own kind allows, and in the end nothing is left of any of it.
func TestSimulation(t *testing.T) {
	n, first := *seeds, *seed
	if first != 0 && !isSet("seeds") {
		n = 1
	}
	if first == 0 {
		first = rand.Uint64() >> 16
	}
	for i := range uint64(n) {
		s := &simulation{seed: first + i}
		if !t.Run(fmt.Sprint("seed ", s.seed), s.run) {
			t.Fatalf("to see it again: go test ./engine/enginetest -run '^TestSimulation$' -v -seed=%d", s.seed)
		}
	}
}

func isSet(name string) (set bool) {
	flag.Visit(func(f *flag.Flag) { set = set || f.Name == name })
	return set
}

// simulation is one program on one cluster.
type simulation struct {
	seed uint64
	rng  *rand.Rand
	step *engine.Func[order, int]

	mu   sync.Mutex
	runs map[int]int // guarded by mu; how often a task has run to its end
}

// order says what a task is to do.
type order struct {
	ID     int
	Errors int           // attempts that fail
	Takes  time.Duration // of virtual time
	Never  bool          // ends only when its context does
}

var errPlanned = errors.New("planned")

func (s *simulation) run(t *testing.T) {
	s.rng, s.runs = rand.New(rand.NewPCG(s.seed, 1)), map[int]int{}
	registry := engine.NewRegistry()
	s.step = engine.NewFunc("step", s.do, engine.In(registry))
	upTo := func(most float64) float64 {
		if s.rng.IntN(3) == 0 {
			return 0
		}
		return most * s.rng.Float64()
	}
	cfg := enginetest.Config{Nodes: 1 + s.rng.IntN(3), Registry: registry, Faults: enginetest.Faults{
		Seed: s.seed, LostRequest: upTo(0.03), LostReply: upTo(0.03), Repeat: upTo(0.05), Delay: upTo(0.02), Cut: upTo(0.003), Kill: upTo(0.02),
	}}
	if testing.Verbose() && *seed != 0 {
		cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	t.Logf("%+v", cfg.Faults)
	enginetest.Run(t, cfg, func(t *testing.T, ctx context.Context) {
		limited, cancel := context.WithTimeout(ctx, 3*time.Hour)
		defer cancel()
		witness := enginetest.NewWitness(ctx, t)
		refs := s.program(t, limited)
		enginetest.Calm(ctx)
		if err := enginetest.Settle(ctx); err != nil {
			t.Errorf("%v", err)
		}
		synctest.Wait()
		for i, ref := range refs { // the n-th submit has the number n
			v, err := ref.Get(ctx)
			if bad := witness.Agrees(uint64(i+1), v, err); bad != nil {
				t.Errorf("task %d: %v", i, bad)
			}
		}
	})
}

func (s *simulation) do(ctx context.Context, o order) (int, error) {
	if o.Takes > 0 || o.Never {
		takes := o.Takes
		if o.Never {
			takes = 1000 * time.Hour
		}
		timer := time.NewTimer(takes)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
	if engine.Attempt(ctx) <= o.Errors {
		return 0, errPlanned
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.runs[o.ID]++
	return o.ID, nil
}

// program submits tasks of all kinds and looks at every outcome twice.
func (s *simulation) program(t *testing.T, ctx context.Context) (refs []engine.Ref[int]) {
	n := 100 + s.rng.IntN(200)
	var checks []func(v int, err error) error
	for id := range n {
		ref, check := s.submit(ctx, id)
		refs, checks = append(refs, ref), append(checks, check)
		if s.rng.IntN(40) == 0 {
			if err := engine.Flush(ctx); err != nil {
				t.Errorf("flush: %v", err)
			}
		}
	}
	if _, _, err := engine.Wait(ctx, refs, n/2); err != nil {
		t.Errorf("wait: %v", err)
	}
	mapped := make(chan error, 1)
	go func() { mapped <- s.mapSome(ctx, 1000, 50) }()
	for i, ref := range refs {
		v, err := ref.Get(ctx)
		if bad := checks[i](v, err); bad != nil {
			t.Errorf("task %d: %v (%d, %v)", i, bad, v, err)
		}
		again, errAgain := ref.Get(ctx)
		if again != v || (err == nil) != (errAgain == nil) || err != nil && err.Error() != errAgain.Error() {
			t.Errorf("task %d: its outcome changed from %d, %v to %d, %v", i, v, err, again, errAgain)
		}
	}
	if err := <-mapped; err != nil {
		t.Error(err)
	}
	return refs
}

// submit submits a task of some kind, and returns what its outcome may be.
func (s *simulation) submit(ctx context.Context, id int) (engine.Ref[int], func(int, error) error) {
	o := order{ID: id, Takes: time.Duration(s.rng.IntN(3)*s.rng.IntN(2000)) * time.Millisecond}
	opts := []engine.Option{engine.Priority([]task.Level{engine.Low, engine.Normal, engine.High}[s.rng.IntN(3)])}
	switch s.rng.IntN(12) {
	case 0: // fails, and then does not
		o.Errors = 1 + s.rng.IntN(2)
		return s.step.Submit(ctx, o, append(opts, engine.Retries(2))...), is(id)
	case 1: // fails for good
		o.Errors = 3
		return s.step.Submit(ctx, o, append(opts, engine.Retries(2))...), fails(task.KindError)
	case 2: // is cancelled before or while it runs, or too late
		o.Takes *= 10
		ref := s.step.Submit(ctx, o, opts...)
		go func() { _ = ref.Cancel(ctx) }()
		return ref, either(is(id), fails(task.KindCancelled))
	case 3: // never ends by itself
		o.Never = true
		return s.step.Submit(ctx, o, append(opts, engine.Deadline(30*time.Second))...), fails(task.KindTimeout)
	case 4:
		o.Never = true
		return s.step.Submit(ctx, o, append(opts, engine.Timeout(5*time.Second), engine.Retries(1))...), fails(task.KindTimeout)
	case 5:
		return s.step.Submit(ctx, o, append(opts, engine.Delay(time.Duration(1+s.rng.IntN(40))*time.Second))...), is(id)
	case 6:
		o.Takes *= 15
		return s.step.Submit(ctx, o, append(opts, engine.Deadline(10*time.Second))...), either(is(id), fails(task.KindTimeout))
	default:
		return s.step.Submit(ctx, o, opts...), is(id)
	}
}

// mapSome maps over some inputs, and breaks the loop at times.
func (s *simulation) mapSome(ctx context.Context, from, n int) error {
	seen := map[int]bool{}
	breakAt := -1
	if s.seed%2 == 0 {
		breakAt = n / 2
	}
	inputs := func(yield func(order) bool) {
		for i := range n {
			if !yield(order{ID: from + i, Takes: time.Duration(i) * time.Millisecond}) {
				return
			}
		}
	}
	for v, err := range engine.Map(ctx, s.step, inputs) {
		switch {
		case err != nil && isLost(err):
		case err != nil:
			return fmt.Errorf("map: %w", err)
		case seen[v] || v < from || v >= from+n:
			return fmt.Errorf("map: %d came twice, or was not asked for", v)
		}
		seen[v] = true
		if len(seen) == breakAt {
			return nil
		}
	}
	if len(seen) != n {
		return fmt.Errorf("map: %d of %d came", len(seen), n)
	}
	return nil
}

// is is the outcome of a task that succeeds, unless ten of its agents died.
func is(id int) func(int, error) error {
	return func(v int, err error) error {
		if err == nil && v != id {
			return fmt.Errorf("want %d", id)
		}
		if err != nil && !isLost(err) {
			return errors.New("want a result")
		}
		return nil
	}
}

func fails(kind task.Kind) func(int, error) error {
	return func(_ int, err error) error {
		var f *task.Failure
		if !errors.As(err, &f) || f.Kind != kind && f.Kind != task.KindLost {
			return fmt.Errorf("want the failure %q", kind)
		}
		return nil
	}
}

func isLost(err error) bool {
	var f *task.Failure
	return errors.As(err, &f) && f.Kind == task.KindLost
}

func either(a, b func(int, error) error) func(int, error) error {
	return func(v int, err error) error {
		if a(v, err) == nil {
			return nil
		}
		return b(v, err)
	}
}
