package enginetest_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidemill/tidemill/engine"
	"github.com/tidemill/tidemill/engine/enginetest"
	"github.com/tidemill/tidemill/engine/task"
)

var (
	seeds = flag.Int("seeds", 80, "how many simulations TestSimulation runs")
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
	step *engine.Func[order, result]
	grow *engine.Func[sprout, grown]

	results atomic.Int64 // so that no two executions have the same result
}

// order says what a task is to do.
type order struct {
	ID      int
	Errors  int           // attempts that fail
	Takes   time.Duration // of virtual time
	Never   bool          // ends only when its context does
	Needs   []need        // results of others that come with the input
	Large   bool          // the result is too large for a message, and so is the input
	Tree    int           // how deep a tree of tasks below this one is, 0 = there is none
	Ballast []byte
}

// need is a result of another task.
type need struct {
	ID  int
	Ref engine.Ref[result]
}

// result is what a task returns.
type result struct {
	Value   int // its number, and that of the execution
	Ballast []byte
}

// ballast makes a value too large for messages.
const ballast = 70_000

var errPlanned = errors.New("planned")

func (s *simulation) run(t *testing.T) {
	s.rng = rand.New(rand.NewPCG(s.seed, 1))
	registry := engine.NewRegistry()
	s.step = engine.NewFunc("step", s.do, engine.In(registry))
	s.grow = engine.NewFunc("grow", s.growOne, engine.In(registry))
	upTo := func(most float64) float64 {
		if s.rng.IntN(3) == 0 {
			return 0
		}
		return most * s.rng.Float64()
	}
	cfg := enginetest.Config{Nodes: 1 + s.rng.IntN(3), Registry: registry, Faults: enginetest.Faults{
		Seed: s.seed, LostRequest: upTo(0.03), LostReply: upTo(0.03), Repeat: upTo(0.05), Delay: upTo(0.02), Cut: upTo(0.003), Kill: upTo(0.02),
	}}
	if s.rng.IntN(3) == 0 {
		cfg.Job = "job"
	}
	if testing.Verbose() && *seed != 0 {
		cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	t.Logf("%+v, job %q", cfg.Faults, cfg.Job)
	plans := s.plan()
	enginetest.Run(t, cfg, func(t *testing.T, ctx context.Context) {
		limited, cancel := context.WithTimeout(ctx, 3*time.Hour)
		defer cancel()
		witness := enginetest.NewWitness(ctx, t)
		if cfg.Job != "" {
			for range 1 + s.rng.IntN(3) {
				s.begin(t, limited, plans)
				limited = enginetest.Rerun(limited) //nolint:fatcontext // that of the next run
			}
		}
		refs := s.program(t, limited, plans)
		enginetest.Calm(ctx)
		if err := enginetest.Settle(limited); err != nil {
			t.Errorf("%v", err)
		}
		synctest.Wait()
		for i, ref := range refs {
			r, err := ref.Get(limited)
			if bad := witness.Agrees(r.Value, r.Ballast != nil, err); bad != nil {
				t.Errorf("task %d: %v", i, bad)
			}
		}
	})
}

func (s *simulation) do(ctx context.Context, o order) (result, error) {
	for _, n := range o.Needs {
		if r, err := n.Ref.Get(ctx); err != nil || r.Value>>idShift != n.ID {
			return result{}, engine.NonRetryable(fmt.Errorf("task %d came as %d, %w", n.ID, r.Value>>idShift, err))
		}
	}
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
			return result{}, context.Cause(ctx)
		}
	}
	if engine.Attempt(ctx) <= o.Errors {
		return result{}, errPlanned
	}
	if o.Tree > 0 {
		leaves, err := s.leavesOf(ctx, s.grow.Submit(ctx, sprout{o.ID, o.Tree, o.Takes / 64}))
		if err != nil {
			return result{}, fmt.Errorf("its tree: %w", err)
		}
		if leaves != 1<<o.Tree {
			return result{}, engine.NonRetryable(fmt.Errorf("%w: a tree %d deep has %d leaves", errWrong, o.Tree, leaves))
		}
	}
	r := result{Value: o.ID<<idShift | int(s.results.Add(1))}
	if o.Large {
		r.Ballast = make([]byte, ballast)
	}
	return r, nil
}

// idShift leaves room for the number of the execution in a result.
const idShift = 32

// plan is a task to submit.
type plan struct {
	order  order
	opts   []engine.Option
	cancel bool
	needs  []int                        // the plans whose results it needs
	check  func(v int, err error) error // of its outcome
	seen   int                          // the result that a former run has seen, 0 = none
}

// plan makes 100 to 300 tasks of all kinds.
func (s *simulation) plan() (plans []*plan) {
	for id := range 100 + s.rng.IntN(200) {
		p := s.planOne(id)
		if id > 0 && s.rng.IntN(5) == 0 {
			for range 1 + s.rng.IntN(3) {
				p.needs = append(p.needs, s.rng.IntN(id))
			}
			p.check = either(p.check, fails(task.KindDependency))
		}
		if s.rng.IntN(12) == 0 {
			p.order.Tree = 1 + s.rng.IntN(4)
		}
		if p.order.Large = s.rng.IntN(10) == 0; p.order.Large {
			p.order.Ballast = make([]byte, ballast+id)
		}
		plans = append(plans, p)
	}
	return plans
}

func (s *simulation) planOne(id int) *plan {
	p := &plan{order: order{ID: id, Takes: time.Duration(s.rng.IntN(3)*s.rng.IntN(2000)) * time.Millisecond}, check: is(id)}
	add := func(opts ...engine.Option) { p.opts = append(p.opts, opts...) }
	add(engine.Priority([]task.Level{engine.Low, engine.Normal, engine.High}[s.rng.IntN(3)]))
	switch o := &p.order; s.rng.IntN(12) {
	case 0: // fails, and then does not
		o.Errors = 1 + s.rng.IntN(2)
		add(engine.Retries(2))
	case 1: // fails for good
		o.Errors = 3
		add(engine.Retries(2))
		p.check = fails(task.KindError)
	case 2: // is cancelled before or while it runs, or too late
		o.Takes *= 10
		p.cancel = true
		p.check = either(is(id), fails(task.KindCancelled))
	case 3: // never ends by itself
		o.Never = true
		add(engine.Deadline(30 * time.Second))
		p.check = fails(task.KindTimeout)
	case 4:
		o.Never = true
		add(engine.Timeout(5*time.Second), engine.Retries(1))
		p.check = fails(task.KindTimeout)
	case 5:
		add(engine.Delay(time.Duration(1+s.rng.IntN(40)) * time.Second))
	case 6:
		o.Takes *= 15
		add(engine.Deadline(10 * time.Second))
		p.check = either(is(id), fails(task.KindTimeout))
	}
	return p
}

// submit submits all, as each run of the program does.
func (s *simulation) submit(t *testing.T, ctx context.Context, plans []*plan) (refs []engine.Ref[result]) {
	for _, p := range plans {
		o := p.order
		for _, i := range p.needs {
			o.Needs = append(o.Needs, need{i, refs[i]})
		}
		ref := s.step.Submit(ctx, o, p.opts...)
		if p.cancel {
			go func() { _ = ref.Cancel(ctx) }()
		}
		refs = append(refs, ref)
		if s.rng.IntN(40) == 0 {
			if err := engine.Flush(ctx); err != nil {
				t.Errorf("flush: %v", err)
			}
		}
	}
	return refs
}

// begin is a run of the program that will be killed: it notes the results that it has seen before.
func (s *simulation) begin(t *testing.T, ctx context.Context, plans []*plan) {
	refs := s.submit(t, ctx, plans)
	if _, _, err := engine.Wait(ctx, refs, s.rng.IntN(len(refs))); err != nil {
		t.Errorf("wait: %v", err)
	}
	for i, ref := range refs {
		select {
		case <-ref.Done(ctx):
		default:
			continue
		}
		r, err := ref.Get(ctx)
		s.look(t, i, plans[i], r.Value, err)
		if err == nil {
			plans[i].seen = r.Value
		}
	}
}

// look checks an outcome: it is of the plan's kind, and what a former run has seen.
func (s *simulation) look(t *testing.T, i int, p *plan, v int, err error) {
	if bad := p.check(v, err); bad != nil {
		t.Errorf("task %d: %v (%d, %v)", i, bad, v, err)
	}
	if p.seen != 0 && (err != nil || v != p.seen) {
		t.Errorf("task %d: a former run has seen %d, and this one %d, %v", i, p.seen, v, err)
	}
}

// program is a run to the end: it looks at every outcome twice.
func (s *simulation) program(t *testing.T, ctx context.Context, plans []*plan) []engine.Ref[result] {
	refs := s.submit(t, ctx, plans)
	if _, _, err := engine.Wait(ctx, refs, len(refs)/2); err != nil {
		t.Errorf("wait: %v", err)
	}
	mapped := make(chan error, 1)
	go func() { mapped <- s.mapSome(ctx, 1000, 50) }()
	for i, ref := range refs {
		r, err := ref.Get(ctx)
		v := r.Value
		s.look(t, i, plans[i], v, err)
		same, errAgain := ref.Get(ctx)
		again := same.Value
		if again != v || (err == nil) != (errAgain == nil) || err != nil && err.Error() != errAgain.Error() {
			t.Errorf("task %d: its outcome changed from %d, %v to %d, %v", i, v, err, again, errAgain)
		}
	}
	if err := <-mapped; err != nil {
		t.Error(err)
	}
	return refs
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
	for r, err := range engine.Map(ctx, s.step, inputs) {
		v := r.Value
		switch {
		case err != nil && isLost(err):
		case err != nil:
			return fmt.Errorf("map: %w", err)
		case seen[v>>idShift] || v>>idShift < from || v>>idShift >= from+n:
			return fmt.Errorf("map: %d came twice, or was not asked for", v>>idShift)
		}
		seen[v>>idShift] = true
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
		if err == nil && v>>idShift != id {
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
