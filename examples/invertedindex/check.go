package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/tidemill/tidemill/engine"
)

// checkIndex indexes the files again in a plain loop, and compares every line of the index.
func checkIndex(ctx context.Context, w io.Writer, x *index, paths []string) error {
	want := map[posting]bool{}
	for i, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for word, n := range countWords(string(text)) {
			want[posting{word, int32(i), int32(n)}] = true
		}
	}
	lines := len(want)
	got, err := linesOf(ctx, x.parts)
	if err != nil {
		return err
	}
	differ := 0
	for line := range maps.Keys(got) {
		if !want[line] {
			differ++
		}
		delete(want, line)
	}
	differ += len(want)
	fmt.Fprintf(w, "\nThe check\n%9d  lines in the index of %d files\n%9d  lines that differ from a plain loop\n", lines, len(paths), differ)
	if differ > 0 {
		return fmt.Errorf("-check: %d lines of the index differ from a plain loop", differ)
	}
	return nil
}

// linesOf returns all lines of the index as a set.
func linesOf(ctx context.Context, parts []engine.Ref[arrow.RecordBatch]) (map[posting]bool, error) {
	lines := map[posting]bool{}
	for _, ref := range parts {
		r, err := ref.Get(ctx)
		if err != nil {
			return nil, err
		}
		c := columnsOf(r)
		for i := range c.words.Len() {
			lines[posting{c.words.Value(i), c.files[i], c.counts[i]}] = true
		}
	}
	return lines, nil
}
