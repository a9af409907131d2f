package engine_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
	"github.com/tidemill/tidemill/engine/task"
)

// The functions of the examples. Programs register theirs in package variables too.
var (
	square = engine.NewFunc("square", func(_ context.Context, n int) (int, error) {
		return n * n, nil
	})
	words = engine.NewFunc("words", func(_ context.Context, text string) (int, error) {
		return len(strings.Fields(text)), nil
	})
)

// cluster returns the context of a whole cluster in this process, and what closes it.
func cluster(cfg tidemill.Config) (context.Context, func()) {
	ctx := context.Background()
	c, err := tidemill.Open(ctx, cfg)
	if err != nil {
		panic(err)
	}
	return c.Context(ctx), func() { _ = c.Close(ctx) }
}

func ExampleNewFunc() {
	ctx, end := cluster(tidemill.Config{})
	defer end()

	type point struct{ X, Y int }
	mirror := engine.NewFunc("mirror", func(_ context.Context, p point) (point, error) {
		return point{p.Y, p.X}, nil
	})
	p, err := mirror.Submit(ctx, point{1, 2}).Get(ctx)
	fmt.Println(p, err)
	// Output: {2 1} <nil>
}

func ExampleFunc_Submit() {
	ctx, end := cluster(tidemill.Config{})
	defer end()

	ref := square.Submit(ctx, 7) // returns at once
	v, err := ref.Get(ctx)       // waits
	fmt.Println(v, err)
	// Output: 49 <nil>
}

// A failure crossed the wire: it says what failed, where and why.
// A function submits tasks itself, with its context. While it waits, its slot runs them.
func ExampleFunc_Submit_nested() {
	ctx, end := cluster(tidemill.Config{})
	defer end()

	count := engine.NewFunc("count", func(ctx context.Context, lines []string) (int, error) {
		if len(lines) == 1 {
			return words.Submit(ctx, lines[0]).Get(ctx)
		}
		half := len(lines) / 2
		left := total.Submit(ctx, lines[:half])
		right := total.Submit(ctx, lines[half:])
		both, err := engine.GetAll(ctx, []engine.Ref[int]{left, right})
		if err != nil {
			return 0, err
		}
		return both[0] + both[1], nil
	})
	total = count // a function that names itself is assigned after it is declared
	fmt.Println(count.Submit(ctx, []string{"to be", "or not", "to be that is the question"}).Get(ctx))
	// Output: 10 <nil>
}

var total *engine.Func[[]string, int]

func ExampleRef_Get() {
	ctx, end := cluster(tidemill.Config{NodeID: "n1"})
	defer end()

	div := engine.NewFunc("div", func(_ context.Context, n int) (int, error) { return 100 / n, nil }, engine.Retries(1))
	_, err := div.Submit(ctx, 0).Get(ctx)
	if f, ok := errors.AsType[*task.Failure](err); ok {
		fmt.Println(f.Func, f.Kind, f.Attempt, f.Node, f.Message)
	}
	// Output: div panic 2 n1 runtime error: integer divide by zero
}

func ExampleRef_Done() {
	ctx, end := cluster(tidemill.Config{})
	defer end()

	ref := square.Submit(ctx, 3)
	select {
	case <-ref.Done(ctx):
		fmt.Println("done")
	case <-ctx.Done():
		fmt.Println("not waiting any more; the task goes on")
	}
	// Output: done
}

// A result is kept while a Ref to it is reachable, or until it is released.
func ExampleRef_Release() {
	ctx, end := cluster(tidemill.Config{})
	defer end()

	ref := square.Submit(ctx, 3)
	fmt.Println(ref.Get(ctx))
	ref.Release()
	_, err := ref.Get(ctx)
	fmt.Println(errors.Is(err, engine.ErrReleased))
	// Output:
	// 9 <nil>
	// true
}

func ExampleMap() {
	ctx, end := cluster(tidemill.Config{})
	defer end()

	sum := 0
	for v, err := range engine.Map(ctx, square, slices.Values([]int{1, 2, 3, 4})) {
		if err != nil {
			fmt.Println(err) // of one task; the rest goes on
			continue
		}
		sum += v
	}
	fmt.Println(sum)
	// Output: 30
}

// Keys say which result is whose: here, the keys of a map.
func ExampleMapKeyed() {
	ctx, end := cluster(tidemill.Config{})
	defer end()

	texts := map[string]string{"haiku": "an old silent pond", "motto": "so it goes"}
	counts := map[string]int{}
	for name, ref := range engine.MapKeyed(ctx, words, maps.All(texts)) {
		counts[name], _ = ref.Get(ctx)
	}
	fmt.Println(counts)
	// Output: map[haiku:4 motto:3]
}

func ExampleInOrder() {
	ctx, end := cluster(tidemill.Config{})
	defer end()

	for v, err := range engine.Map(ctx, square, slices.Values([]int{1, 2, 3}), engine.InOrder()) {
		fmt.Println(v, err)
	}
	// Output:
	// 1 <nil>
	// 4 <nil>
	// 9 <nil>
}

// At most four inputs are taken ahead of the results.
func ExamplePending() {
	ctx, end := cluster(tidemill.Config{})
	defer end()

	taken, most := 0, 0
	inputs := func(yield func(int) bool) {
		for i := range 100 {
			if taken++; !yield(i) {
				return
			}
		}
	}
	got := 0
	for _, err := range engine.Map(ctx, square, inputs, engine.Pending(4)) {
		if err != nil {
			fmt.Println(err)
		}
		most = max(most, taken-got)
		got++
	}
	fmt.Println(got, most <= 4)
	// Output: 100 true
}

func ExampleGetAll() {
	ctx, end := cluster(tidemill.Config{})
	defer end()

	var refs []engine.Ref[int]
	for i := range 5 {
		refs = append(refs, square.Submit(ctx, i))
	}
	fmt.Println(engine.GetAll(ctx, refs))
	// Output: [0 1 4 9 16] <nil>
}

func ExampleWait() {
	ctx, end := cluster(tidemill.Config{})
	defer end()

	refs := []engine.Ref[int]{square.Submit(ctx, 1), square.Submit(ctx, 2), square.Submit(ctx, 3)}
	ready, pending, err := engine.Wait(ctx, refs, 2) // two of three, whichever they are
	fmt.Println(len(ready) >= 2, len(ready)+len(pending), err)
	// Output: true 3 <nil>
}

func ExampleCompleted() {
	ctx, end := cluster(tidemill.Config{})
	defer end()

	refs := []engine.Ref[int]{square.Submit(ctx, 1), square.Submit(ctx, 2), square.Submit(ctx, 3)}
	sum := 0
	for ref, err := range engine.Completed(ctx, refs) { // in the order of completion
		if err != nil {
			fmt.Println(err) // the waiting ended
			return
		}
		v, _ := ref.Get(ctx) // does not wait
		sum += v
	}
	fmt.Println(sum)
	// Output: 14
}

// After Flush, what was submitted is stored in its queue.
func ExampleFlush() {
	ctx, end := cluster(tidemill.Config{})
	defer end()

	ref := square.Submit(ctx, 5)
	fmt.Println(engine.Flush(ctx))
	fmt.Println(ref.Get(ctx))
	// Output:
	// <nil>
	// 25 <nil>
}

// Put makes a Ref to a value that is there already, for code that wants Refs.
func ExamplePut() {
	ctx, end := cluster(tidemill.Config{})
	defer end()

	refs := []engine.Ref[int]{engine.Put(ctx, 1), square.Submit(ctx, 2)}
	fmt.Println(engine.GetAll(ctx, refs))
	// Output: [1 4] <nil>
}

// A registry of one's own keeps a test's functions apart from the program's.
func ExampleIn() {
	registry := engine.NewRegistry()
	ctx, end := cluster(tidemill.Config{Registry: registry})
	defer end()

	cube := engine.NewFunc("cube", func(_ context.Context, n int) (int, error) { return n * n * n, nil }, engine.In(registry))
	fmt.Println(cube.Submit(ctx, 3).Get(ctx))
	_, err := square.Submit(ctx, 3).Get(ctx) // of the default registry, which this cluster does not have
	fmt.Println(errors.Is(err, engine.ErrUnknownFunc))
	// Output:
	// 27 <nil>
	// true
}

// A function without input or result.
func ExampleNone() {
	ctx, end := cluster(tidemill.Config{})
	defer end()

	ping := engine.NewFunc("ping", func(context.Context, engine.None) (engine.None, error) { return engine.None{}, nil })
	_, err := ping.Submit(ctx, engine.None{}).Get(ctx)
	fmt.Println(err)
	// Output: <nil>
}

// One connection to a database, however many CPUs: tasks that need it run one at a time.
func ExampleResource() {
	ctx, end := cluster(tidemill.Config{Resources: map[string]float64{"db": 1}})
	defer end()

	running := make(chan bool, 1) // has room for one
	query := engine.NewFunc("query", func(_ context.Context, n int) (int, error) {
		select {
		case running <- true:
			defer func() { <-running }()
			return n, nil
		default:
			return 0, errors.New("two at a time")
		}
	}, engine.Resource("db", 1), engine.Retries(0))
	n := 0
	for _, err := range engine.Map(ctx, query, slices.Values(make([]int, 20))) {
		if err == nil {
			n++
		}
	}
	fmt.Println(n)
	// Output: 20
}

// What no node has is an error at once, that says what there is.
func ExampleCPUs() {
	ctx, end := cluster(tidemill.Config{NodeID: "n1", Resources: map[string]float64{"cpu": 2, "memory": 1 << 30}})
	defer end()

	fmt.Println(square.Submit(ctx, 6, engine.CPUs(2)).Get(ctx))
	_, err := square.Submit(ctx, 6, engine.CPUs(64)).Get(ctx)
	fmt.Println(err)
	// Output:
	// 36 <nil>
	// square: infeasible: it needs cpu=64, and no node has that: n1 has cpu=2 memory=1Gi
}

// Two tasks of 512 MiB fit beside each other into a node of 1 GiB, whatever its CPUs.
func ExampleMemory() {
	ctx, end := cluster(tidemill.Config{Resources: map[string]float64{"memory": 1 << 30}})
	defer end()

	fmt.Println(square.Submit(ctx, 2, engine.Memory(512<<20)).Get(ctx))
	// Output: 4 <nil>
}

// A task whose first attempts fail.
func ExampleRetries() {
	ctx, end := cluster(tidemill.Config{})
	defer end()

	flaky := engine.NewFunc("flaky", func(ctx context.Context, _ engine.None) (string, error) {
		if engine.Attempt(ctx) < 3 {
			return "", errors.New("not yet")
		}
		return fmt.Sprint("attempt ", engine.Attempt(ctx)), nil
	}, engine.Retries(2))
	fmt.Println(flaky.Submit(ctx, engine.None{}).Get(ctx))
	// Output: attempt 3 <nil>
}

// An error that another attempt would not mend ends its task at once.
func ExampleNonRetryable() {
	ctx, end := cluster(tidemill.Config{NodeID: "n1"})
	defer end()

	parse := engine.NewFunc("parse", func(_ context.Context, s string) (int, error) {
		return 0, engine.NonRetryable(fmt.Errorf("%q is no number", s))
	})
	_, err := parse.Submit(ctx, "x").Get(ctx)
	var f *task.Failure
	fmt.Println(errors.As(err, &f), f.Attempt, f.Message)
	// Output: true 1 "x" is no number
}

// The version is part of a task's identity: it changes when the code's answer changes.
func ExampleVersion() {
	ctx, end := cluster(tidemill.Config{})
	defer end()

	price := engine.NewFunc("price", func(_ context.Context, n int) (int, error) { return 3 * n, nil }, engine.Version("2026-11"))
	fmt.Println(price.Submit(ctx, 2).Get(ctx))
	// Output: 6 <nil>
}

// What a function can learn about the task that it runs for.
func ExampleTaskID() {
	ctx, end := cluster(tidemill.Config{NodeID: "mill"})
	defer end()

	whoami := engine.NewFunc("whoami", func(ctx context.Context, _ engine.None) (string, error) {
		engine.Logger(ctx).Debug("lines of this logger carry func, task, attempt and node")
		return fmt.Sprintf("task %d, attempt %d on %s", engine.TaskID(ctx).Number, engine.Attempt(ctx), engine.NodeID(ctx)), nil
	})
	fmt.Println(whoami.Submit(ctx, engine.None{}).Get(ctx))
	// Output: task 1, attempt 1 on mill <nil>
}
