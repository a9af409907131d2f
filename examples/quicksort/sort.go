package main

import (
	"context"
	"slices"

	"github.com/tidemill/tidemill/engine"
)

// The functions that tasks run. SortNested submits itself, and so is assigned in init.
var (
	SortPiece  = engine.NewFunc("sort-piece", sortPiece)
	SortNested *engine.Func[Piece, Sorted]
)

func init() { SortNested = engine.NewFunc("sort-nested", sortNested) }

// library is what others are compared with.
func library(_ context.Context, numbers []int64, _ int) (sorted []int64, tasks int, err error) {
	sorted = slices.Clone(numbers)
	slices.Sort(sorted)
	return sorted, 0, nil
}

// serial is quicksort without tasks.
func serial(_ context.Context, numbers []int64, threshold int) (sorted []int64, tasks int, err error) {
	sorted = slices.Clone(numbers)
	for piece := range cut(sorted, threshold) {
		slices.Sort(piece)
	}
	return sorted, 0, nil
}

// oneLevel has the driver cut the numbers into pieces and submit a task for each. The first are sorted while it cuts
// the rest.
func oneLevel(ctx context.Context, numbers []int64, threshold int) (sorted []int64, tasks int, err error) {
	var pieces []engine.Ref[Packed]
	for piece := range cut(slices.Clone(numbers), threshold) {
		pieces = append(pieces, SortPiece.SubmitRef(ctx, engine.Put(ctx, pack(piece))))
	}
	sorted, err = appendAll(ctx, make([]int64, 0, len(numbers)), pieces...)
	return sorted, len(pieces), err
}

// sortPiece sorts all by itself. What a task gets is its own, and so may be sorted where it lies.
func sortPiece(_ context.Context, piece Packed) (Packed, error) {
	slices.Sort(unpack(piece))
	return piece, nil
}

// Piece is some numbers to be sorted by nested tasks.
type Piece struct {
	Numbers   engine.Ref[Packed]
	Threshold int // so many or fewer are cut no further
}

// Sorted is a tree of sorted numbers: the least, and behind them those of other tasks' trees, in their order.
type Sorted struct {
	Least engine.Ref[Packed]
	More  []engine.Ref[Sorted]
}

// nested submits one task, which submits all others. Numbers stay where the task that sorted them left them: nothing
// is merged on the way up, and nobody waits but the driver, for the whole tree.
func nested(ctx context.Context, numbers []int64, threshold int) (sorted []int64, tasks int, err error) {
	whole := SortNested.Submit(ctx, Piece{engine.Put(ctx, pack(numbers)), threshold})
	pieces, err := leaves(ctx, nil, whole)
	if err != nil {
		return nil, 0, err
	}
	sorted, err = appendAll(ctx, make([]int64, 0, len(numbers)), pieces...)
	return sorted, len(pieces), err
}

// sortNested submits a task for the greater half, goes on with the other one itself, and so on until few are left,
// which it sorts. Its result refers to those tasks' results: it returns at once, and is settled when they are.
func sortNested(ctx context.Context, piece Piece) (Sorted, error) {
	packed, err := piece.Numbers.Get(ctx) // it came with the input: this returns at once
	if err != nil {
		return Sorted{}, err
	}
	least := unpack(packed)
	var more []engine.Ref[Sorted]
	for len(least) > piece.Threshold {
		var greater []int64
		least, greater = partition(least)
		more = append(more, SortNested.Submit(ctx, Piece{engine.Put(ctx, pack(greater)), piece.Threshold}))
	}
	slices.Sort(least)
	slices.Reverse(more) // the first one cut off is the greatest
	return Sorted{engine.Put(ctx, pack(least)), more}, nil
}

// leaves appends the pieces of a tree, one for each task.
func leaves(ctx context.Context, to []engine.Ref[Packed], tree engine.Ref[Sorted]) ([]engine.Ref[Packed], error) {
	sorted, err := tree.Get(ctx)
	if err != nil {
		return nil, err
	}
	to = append(to, sorted.Least)
	for _, more := range sorted.More {
		if to, err = leaves(ctx, to, more); err != nil {
			return nil, err
		}
	}
	return to, nil
}

// appendAll appends the numbers of all pieces.
func appendAll(ctx context.Context, to []int64, pieces ...engine.Ref[Packed]) ([]int64, error) {
	for _, piece := range pieces {
		packed, err := piece.Get(ctx)
		if err != nil {
			return nil, err
		}
		to = append(to, unpack(packed)...)
	}
	return to, nil
}
