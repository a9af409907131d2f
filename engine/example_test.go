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

// The functions of the examples. Programs also register theirs in package variables.
var (
	square = engine.NewFunc("square", func(_ context.Context, n int) (int, error) {
		return n * n, nil
	})
	words = engine.NewFunc("words", func(_ context.Context, text string) (int, error) {
		return len(strings.Fields(text)), nil
	})
)

// cluster opens a cluster in this process, and returns its context and a function that closes it.
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

// A function submits tasks with its own context. While it waits for them, they use its CPU.
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

// The error of a failed task says what failed, where and why.
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
		fmt.Println("no longer waiting; the task continues")
	}
	// Output: done
}

// A result is kept while a Ref to it is reachable, or until Release.
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
			fmt.Println(err) // of one task; the others continue
			continue
		}
		sum += v
	}
	fmt.Println(sum)
	// Output: 30
}

// MapKeyed yields each result with the key of its input, here the keys of a map.
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

// Map reads at most four inputs ahead of the results.
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
	ready, pending, err := engine.Wait(ctx, refs, 2) // any two of the three
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
			fmt.Println(err) // ctx has ended
			return
		}
		v, _ := ref.Get(ctx) // the task has ended: Get does not wait
		sum += v
	}
	fmt.Println(sum)
	// Output: 14
}

// When Flush has returned, the tasks submitted before are stored in their streams.
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

// Put returns a Ref to a value, for example for functions that take Refs.
func ExamplePut() {
	ctx, end := cluster(tidemill.Config{})
	defer end()

	refs := []engine.Ref[int]{engine.Put(ctx, 1), square.Submit(ctx, 2)}
	fmt.Println(engine.GetAll(ctx, refs))
	// Output: [1 4] <nil>
}

// A test can register its functions in a registry of its own, separate from that of the program.
func ExampleIn() {
	registry := engine.NewRegistry()
	ctx, end := cluster(tidemill.Config{Registry: registry})
	defer end()

	cube := engine.NewFunc("cube", func(_ context.Context, n int) (int, error) { return n * n * n, nil }, engine.In(registry))
	fmt.Println(cube.Submit(ctx, 3).Get(ctx))
	_, err := square.Submit(ctx, 3).Get(ctx) // square is in the default registry, which this cluster does not use
	fmt.Println(errors.Is(err, engine.ErrUnknownFunc))
	// Output:
	// 27 <nil>
	// true
}

// A function without input and without result.
func ExampleNone() {
	ctx, end := cluster(tidemill.Config{})
	defer end()

	ping := engine.NewFunc("ping", func(context.Context, engine.None) (engine.None, error) { return engine.None{}, nil })
	_, err := ping.Submit(ctx, engine.None{}).Get(ctx)
	fmt.Println(err)
	// Output: <nil>
}

// The node has one connection to a database: tasks that need it run one at a time, however many CPUs there are.
func ExampleResource() {
	ctx, end := cluster(tidemill.Config{Resources: map[string]float64{"db": 1}})
	defer end()

	running := make(chan bool, 1)
	query := engine.NewFunc("query", func(_ context.Context, n int) (int, error) {
		select {
		case running <- true:
			defer func() { <-running }()
			return n, nil
		default:
			return 0, errors.New("two tasks at the same time")
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

// If no node has the resources of a task, the error says so at once, with what the nodes have.
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

// A node with 1 GiB runs at most two tasks of 512 MiB at the same time, however many CPUs it has.
func ExampleMemory() {
	ctx, end := cluster(tidemill.Config{Resources: map[string]float64{"memory": 1 << 30}})
	defer end()

	fmt.Println(square.Submit(ctx, 2, engine.Memory(512<<20)).Get(ctx))
	// Output: 4 <nil>
}

// A task whose first two attempts fail.
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

// A task whose error another attempt would not avoid fails at once.
func ExampleNonRetryable() {
	ctx, end := cluster(tidemill.Config{NodeID: "n1"})
	defer end()

	parse := engine.NewFunc("parse", func(_ context.Context, s string) (int, error) {
		return 0, engine.NonRetryable(fmt.Errorf("%q is not a number", s))
	})
	_, err := parse.Submit(ctx, "x").Get(ctx)
	var f *task.Failure
	fmt.Println(errors.As(err, &f), f.Attempt, f.Message)
	// Output: true 1 "x" is not a number
}

// errors.Is finds errEmpty wherever a task has failed with it.
var errEmpty = engine.RegisterError("account-empty", errors.New("account is empty"))

// A program asks what a task has failed with as it asks of a plain function. Errors of its own are registered under a code.
func ExampleRegisterError() {
	ctx, end := cluster(tidemill.Config{})
	defer end()

	pay := engine.NewFunc("pay", func(context.Context, int) (int, error) {
		return 0, fmt.Errorf("pay 7: %w", errEmpty)
	}, engine.Retries(0))
	_, err := pay.Submit(ctx, 7).Get(ctx)
	fmt.Println(errors.Is(err, errEmpty), errors.Is(err, context.Canceled))
	// Output: true false
}

// The version is a part of a task's identity: change it when the function returns something else for the same input.
func ExampleVersion() {
	ctx, end := cluster(tidemill.Config{})
	defer end()

	price := engine.NewFunc("price", func(_ context.Context, n int) (int, error) { return 3 * n, nil }, engine.Version("2026-11"))
	fmt.Println(price.Submit(ctx, 2).Get(ctx))
	// Output: 6 <nil>
}

// A function can ask for the task, the attempt and the node that it runs in.
func ExampleTaskID() {
	ctx, end := cluster(tidemill.Config{NodeID: "mill"})
	defer end()

	whoami := engine.NewFunc("whoami", func(ctx context.Context, _ engine.None) (string, error) {
		engine.Logger(ctx).Debug("this line has the attributes func, task, attempt and node")
		return fmt.Sprintf("task %d, attempt %d on %s", engine.TaskID(ctx).Number, engine.Attempt(ctx), engine.NodeID(ctx)), nil
	})
	fmt.Println(whoami.Submit(ctx, engine.None{}).Get(ctx))
	// Output: task 1, attempt 1 on mill <nil>
}
