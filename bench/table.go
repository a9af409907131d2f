package main

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// A table aligns cells in columns. (text/tabwriter cannot align some columns left and others right.)
type table struct {
	right []int // columns aligned right
	rows  [][]string
	width []int // of each column, in runes
}

// add appends a row.
func (t *table) add(cells ...string) {
	for i, cell := range cells {
		if i == len(t.width) {
			t.width = append(t.width, 0)
		}
		t.width[i] = max(t.width[i], utf8.RuneCountInString(cell))
	}
	t.rows = append(t.rows, cells)
}

// write writes the rows, with two spaces between columns and none at the end of a line.
func (t *table) write(b *strings.Builder) {
	for _, cells := range t.rows {
		var line strings.Builder
		for i, cell := range cells {
			blanks := strings.Repeat(" ", t.width[i]-utf8.RuneCountInString(cell))
			if slices.Contains(t.right, i) {
				line.WriteString(blanks + cell)
			} else {
				line.WriteString(cell + blanks)
			}
			line.WriteString("  ")
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
}
