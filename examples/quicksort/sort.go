package main

import (
	"context"
	"slices"

	"github.com/tidemill/tidemill/engine"
)

// The functions that tasks run. SortNested submits itself, so it is assigned in init.
var (
	SortPiece  = engine.NewFunc("sort-piece", sortPiece)
	SortNested *engine.Func[Piece, Sorted]
)

func init() { SortNested = engine.NewFunc("sort-nested", sortNested) }

// library sorts with slices.Sort, the reference for the other ways.
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

// oneLevel partitions the numbers in the driver and submits a task for each piece. The first pieces are sorted while it
// partitions the rest.
func oneLevel(ctx context.Context, numbers []int64, threshold int) (sorted []int64, tasks int, err error) {
	var pieces []engine.Ref[Packed]
	for piece := range cut(slices.Clone(numbers), threshold) {
		pieces = append(pieces, SortPiece.SubmitRef(ctx, engine.Put(ctx, pack(piece))))
	}
	sorted, err = appendAll(ctx, make([]int64, 0, len(numbers)), pieces...)
	return sorted, len(pieces), err
}

// sortPiece is the function of SortPiece. The input of a task belongs to the task, so it may sort in place.
func sortPiece(_ context.Context, piece Packed) (Packed, error) {
	slices.Sort(unpack(piece))
	return piece, nil
}

// Piece is the input of a sort-nested task.
type Piece struct {
	Numbers   engine.Ref[Packed]
	Threshold int // up to this many numbers are sorted without partitioning
}

// Sorted is a tree of sorted numbers: the least numbers, followed by the trees of other tasks, in ascending order.
type Sorted struct {
	Least engine.Ref[Packed]
	More  []engine.Ref[Sorted]
}

// nested submits one task, which submits all others. Results are not merged by tasks: each piece stays where it was sorted,
// and only the driver waits, for the whole tree.
func nested(ctx context.Context, numbers []int64, threshold int) (sorted []int64, tasks int, err error) {
	whole := SortNested.Submit(ctx, Piece{engine.Put(ctx, pack(numbers)), threshold})
	pieces, err := leaves(ctx, nil, whole)
	if err != nil {
		return nil, 0, err
	}
	sorted, err = appendAll(ctx, make([]int64, 0, len(numbers)), pieces...)
	return sorted, len(pieces), err
}

// sortNested is the function of SortNested. It submits a task for the greater part of the numbers, continues with the other
// part, and so on, and sorts the rest itself. It returns Refs to the results of those tasks without waiting for them; its
// own result is recorded when they have ended.
func sortNested(ctx context.Context, piece Piece) (Sorted, error) {
	packed, err := piece.Numbers.Get(ctx) // does not wait, since the value came with the input
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
	slices.Reverse(more) // the first task got the greatest numbers
	return Sorted{engine.Put(ctx, pack(least)), more}, nil
}

// leaves appends the sorted pieces of a tree, one for each task, in ascending order.
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
