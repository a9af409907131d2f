package main

// Board is a board whose first rows have a queen each. Squares of the next row are bits: what is set there, a queen
// attacks along a column or a diagonal.
type Board struct {
	Size                 int    // rows and columns
	Columns, Left, Right uint32 // diagonals that lead to the left or right, row by row
}

// empty returns a board without queens.
func empty(size int) Board { return Board{Size: size} }

// full reports whether each row has its queen, and so each column.
func (b Board) full() bool { return b.Columns == 1<<b.Size-1 }

// free returns the squares of the next row that a queen may have, a bit each.
func (b Board) free() uint32 {
	return ^(b.Columns | b.Left | b.Right) & (1<<b.Size - 1)
}

// with returns the board with a queen on a square of the next row.
func (b Board) with(queen uint32) Board {
	return Board{b.Size, b.Columns | queen, (b.Left | queen) << 1, (b.Right | queen) >> 1}
}

// first returns the first one of some squares.
func first(squares uint32) uint32 { return squares & -squares }

// countFrom counts the ways to place all other queens, by plain recursion.
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
