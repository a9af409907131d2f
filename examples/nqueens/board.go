package main

// Board is a board whose first rows have a queen each. Columns, Left and Right have a bit for each square of the next row,
// which is set if a queen attacks the square.
type Board struct {
	Size                 int    // rows and columns
	Columns, Left, Right uint32 // along a column, or along a diagonal towards the left or the right
}

// empty returns a board without queens.
func empty(size int) Board { return Board{Size: size} }

// full reports whether every row has a queen.
func (b Board) full() bool { return b.Columns == 1<<b.Size-1 }

// free returns the squares of the next row that no queen attacks, as bits.
func (b Board) free() uint32 {
	return ^(b.Columns | b.Left | b.Right) & (1<<b.Size - 1)
}

// with returns the board with a queen on a square of the next row.
func (b Board) with(queen uint32) Board {
	return Board{b.Size, b.Columns | queen, (b.Left | queen) << 1, (b.Right | queen) >> 1}
}

// first returns the lowest bit of some squares.
func first(squares uint32) uint32 { return squares & -squares }

// countFrom counts the ways to place the other queens by plain recursion, without tasks.
func countFrom(b Board) int {
	if b.full() {
		return 1
	}
	ways := 0
	for free := b.free(); free != 0; free -= first(free) {
		ways += countFrom(b.with(first(free)))
	}
	return ways
}
