package main

import (
	"context"

	"github.com/tidemill/tidemill/engine"
)

// Place counts the ways to complete a board. It submits itself, so it is assigned in init.
var Place *engine.Func[Branch, Found]

func init() { Place = engine.NewFunc("place", place) }

// Branch is the input of a place task.
type Branch struct {
	Board Board
	Depth int // how many more rows are placed by tasks
}

// Found is the result of a branch.
type Found struct {
	Ways  int
	Tasks int // how many tasks counted them
}

// place is the function of Place: it submits a task for each square of the next row, and adds up the results. While it
// waits, those tasks use its CPU.
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
