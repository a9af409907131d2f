package main

import (
	"context"

	"github.com/tidemill/tidemill/engine"
)

// Place counts the ways below a branch. It submits itself, and so is assigned in init.
var Place *engine.Func[Branch, Found]

func init() { Place = engine.NewFunc("place", place) }

// Branch is the input of a task.
type Branch struct {
	Board Board
	Depth int // so many rows are still placed by tasks
}

// Found is what is below a branch.
type Found struct {
	Ways  int
	Tasks int // that have counted them
}

// place submits a task for each square of the next row, and adds up what they find. While it waits, its slot runs
// those tasks.
func place(ctx context.Context, branch Branch) (Found, error) {
	if branch.Depth == 0 || branch.Board.full() {
		return Found{countFrom(branch.Board), 1}, nil
	}
	var below []engine.Ref[Found]
	for free := branch.Board.free(); free != 0; free -= first(free) {
		below = append(below, Place.Submit(ctx, Branch{branch.Board.with(first(free)), branch.Depth - 1}))
	}
	found, err := engine.GetAll(ctx, below)
	sum := Found{Tasks: 1}
	for _, f := range found {
		sum.Ways += f.Ways
		sum.Tasks += f.Tasks
	}
	return sum, err
}
