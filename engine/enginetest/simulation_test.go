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
	seeds = flag.Int("seeds", 80, "how many simulations TestSimulation runs, with successive seeds")
	seed  = flag.Uint64("seed", 1, "the seed of the first simulation")
)

// TestSimulation runs programs of 100 to 300 tasks on clusters whose connections lose, repeat and delay messages and are
// cut, and whose nodes die. Whatever happens, each task has an outcome that fits its plan, the outcome never changes, and
// in the end no message, batch or slot is left of the program. The seeds are the same in each run, unless -seed says
// otherwise; `make soak` takes others each time.
func TestSimulation(t *testing.T) {
	t.Logf("%d simulations from -seed=%d", *seeds, *seed)
	for i := range uint64(*seeds) {
		s := &simulation{seed: *seed + i}
		if !t.Run(fmt.Sprint("seed ", s.seed), s.run) {
			t.Fatalf("to repeat it: go test ./engine/enginetest -run '^TestSimulation$' -v -seeds=1 -seed=%d", s.seed)
		}
	}
}

// simulation is one program on one cluster.
type simulation struct {
	seed uint64
	rng  *rand.Rand
	step *engine.Func[order, result]
	tree *engine.Func[treeOrder, treeResult]

	results atomic.Int64 // executions that returned a result, so that no two results are equal
}

// order is the input of a task: it says what the task does.
type order struct {
	ID      int
	Errors  int           // how many attempts fail
	Takes   time.Duration // how long an attempt takes, in virtual time
	Never   bool          // the task ends only when its context does
	Needs   []need        // results of other tasks that are part of the input
	Large   bool          // input and result are too large for a message
	Tree    int           // depth of the tree of tasks that the task submits; 0 = none
	Ballast []byte        // makes the input large
}

// need is a result of another task.
type need struct {
	ID  int
	Ref engine.Ref[result]
}

// result is what a task returns.
type result struct {
	Value   int // the task's ID, shifted by idShift, and the number of the execution
	Ballast []byte
}

// ballast is how many bytes make a value too large for a message.
const ballast = 70_000

var errPlanned = errors.New("planned")

func (s *simulation) run(t *testing.T) {
	s.rng = rand.New(rand.NewPCG(s.seed, 1))
	registry := engine.NewRegistry()
	s.step = engine.NewFunc("step", s.do, engine.In(registry))
	s.tree = engine.NewFunc("tree", s.doTree, engine.In(registry))
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
	if testing.Verbose() && *seeds == 1 {
		cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	t.Logf("faults %+v, job %q", cfg.Faults, cfg.Job)
	plans := s.plan()
	enginetest.RunAlone(t, cfg, func(t *testing.T, ctx context.Context) {
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
			t.Errorf("the cluster does not come to rest: %v", err)
		}
		synctest.Wait() // until the witness has read everything
		for i, ref := range refs {
			r, err := ref.Get(limited)
			if err := witness.Agrees(r.Value, r.Ballast != nil, err); err != nil {
				t.Errorf("task %d: %v", i, err)
			}
		}
	})
}

func (s *simulation) do(ctx context.Context, o order) (result, error) {
	for _, n := range o.Needs {
		if r, err := n.Ref.Get(ctx); err != nil || r.Value>>idShift != n.ID {
			return result{}, engine.NonRetryable(fmt.Errorf("the result of task %d is that of task %d, with the error %w", n.ID, r.Value>>idShift, err))
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
		leaves, err := s.leavesOf(ctx, s.tree.Submit(ctx, treeOrder{o.ID, o.Tree, o.Takes / 64}))
		if err != nil {
			return result{}, fmt.Errorf("the tree of the task: %w", err)
		}
		if leaves != 1<<o.Tree {
			return result{}, engine.NonRetryable(fmt.Errorf("%w: a tree of depth %d has %d leaves, want %d", errWrong, o.Tree, leaves, 1<<o.Tree))
		}
	}
	r := result{Value: o.ID<<idShift | int(s.results.Add(1))}
	if o.Large {
		r.Ballast = make([]byte, ballast)
	}
	return r, nil
}

// idShift is how many bits of a result hold the number of the execution.
const idShift = 32

// plan is a task to submit, and what may become of it.
type plan struct {
	order  order
	opts   []engine.Option
	cancel bool                         // right after it was submitted
	needs  []int                        // indices of the plans whose results are part of the input
	check  func(v int, err error) error // says what is wrong with the outcome, if anything is
	seen   int                          // the result that a former run of the job has seen; 0 = none
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
	p := &plan{order: order{ID: id, Takes: time.Duration(s.rng.IntN(3)*s.rng.IntN(2000)) * time.Millisecond}, check: succeeds(id)}
	add := func(opts ...engine.Option) { p.opts = append(p.opts, opts...) }
	add(engine.Priority([]task.Level{engine.Low, engine.Normal, engine.High}[s.rng.IntN(3)]))
	switch o := &p.order; s.rng.IntN(12) {
	case 0: // fails at first, and succeeds with a retry
		o.Errors = 1 + s.rng.IntN(2)
		add(engine.Retries(2))
	case 1: // fails more often than it has retries
		o.Errors = 3
		add(engine.Retries(2))
		p.check = fails(task.KindError)
	case 2: // is cancelled before it runs, while it runs, or too late
		o.Takes *= 10
		p.cancel = true
		p.check = either(succeeds(id), fails(task.KindCancelled))
	case 3: // runs into its deadline
		o.Never = true
		add(engine.Deadline(30 * time.Second))
		p.check = fails(task.KindTimeout)
	case 4: // runs into its timeout, twice
		o.Never = true
		add(engine.Timeout(5*time.Second), engine.Retries(1))
		p.check = fails(task.KindTimeout)
	case 5: // begins late
		add(engine.Delay(time.Duration(1+s.rng.IntN(40)) * time.Second))
	case 6: // may run into its deadline
		o.Takes *= 15
		add(engine.Deadline(10 * time.Second))
		p.check = either(succeeds(id), fails(task.KindTimeout))
	}
	return p
}

// submit submits all tasks, in the same order in each run of the job.
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
				t.Errorf("Flush: got the error %v, want none", err)
			}
		}
	}
	return refs
}

// begin is a run of the program that is killed before its end. It keeps the results that it has seen in the plans.
func (s *simulation) begin(t *testing.T, ctx context.Context, plans []*plan) {
	refs := s.submit(t, ctx, plans)
	if _, _, err := engine.Wait(ctx, refs, s.rng.IntN(len(refs))); err != nil {
		t.Errorf("Wait: got the error %v, want none", err)
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

// look checks that an outcome fits its plan, and is the one that a former run has seen.
func (s *simulation) look(t *testing.T, i int, p *plan, v int, err error) {
	if wrong := p.check(v, err); wrong != nil {
		t.Errorf("task %d: got the result %d and the error %v; %v", i, v, err, wrong)
	}
	if p.seen != 0 && (err != nil || v != p.seen) {
		t.Errorf("task %d: got the result %d and the error %v, want the result %d that a former run has seen", i, v, err, p.seen)
	}
}

// program is a run that comes to its end. It gets every outcome twice.
func (s *simulation) program(t *testing.T, ctx context.Context, plans []*plan) []engine.Ref[result] {
	refs := s.submit(t, ctx, plans)
	if _, _, err := engine.Wait(ctx, refs, len(refs)/2); err != nil {
		t.Errorf("Wait: got the error %v, want none", err)
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
			t.Errorf("task %d: got the result %d and the error %v the second time, want %d and %v as the first time", i, again, errAgain, v, err)
		}
	}
	if err := <-mapped; err != nil {
		t.Errorf("Map: %v", err)
	}
	return refs
}

// mapSome maps a function over n inputs. With an even seed, it leaves the loop after half of them.
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
			return fmt.Errorf("got the error %w, want a result", err)
		case seen[v>>idShift] || v>>idShift < from || v>>idShift >= from+n:
			return fmt.Errorf("got the result of input %d, want each of %d to %d once", v>>idShift, from, from+n-1)
		}
		seen[v>>idShift] = true
		if len(seen) == breakAt {
			return nil
		}
	}
	if len(seen) != n {
		return fmt.Errorf("got %d results, want %d", len(seen), n)
	}
	return nil
}

// succeeds checks the outcome of a task that returns a result, unless ten of its agents died.
func succeeds(id int) func(int, error) error {
	return func(v int, err error) error {
		if err == nil && v>>idShift != id {
			return fmt.Errorf("want a result of task %d", id)
		}
		if err != nil && !isLost(err) {
			return errors.New("want a result")
		}
		return nil
	}
}

// fails checks the outcome of a task that fails with this kind of failure, unless ten of its agents died.
func fails(kind task.Kind) func(int, error) error {
	return func(_ int, err error) error {
		var f *task.Failure
		if !errors.As(err, &f) || f.Kind != kind && f.Kind != task.KindLost {
			return fmt.Errorf("want a failure of the kind %q", kind)
		}
		return nil
	}
}

func isLost(err error) bool {
	var f *task.Failure
	return errors.As(err, &f) && f.Kind == task.KindLost
}

// either checks an outcome that may be one of two.
func either(a, b func(int, error) error) func(int, error) error {
	return func(v int, err error) error {
		notA, notB := a(v, err), b(v, err)
		if notA == nil || notB == nil {
			return nil
		}
		return fmt.Errorf("%w, or %w", notA, notB)
	}
}
