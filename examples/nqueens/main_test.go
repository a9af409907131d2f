package main

import (
	"context"
	"errors"
	"testing"

	"github.com/tidemill/tidemill"
)

func TestPlainRecursionFindsTheKnownAnswers(t *testing.T) {
	for i, want := range known[:10] {
		if got := countFrom(empty(i + 1)); got != want {
			t.Errorf("%d queens: got %d ways, want %d", i+1, got, want)
		}
	}
}

func TestTasksFindTheKnownAnswers(t *testing.T) {
	cluster, err := tidemill.Open(t.Context(), tidemill.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cluster.Close(context.Background()) }()
	ctx := cluster.Context(t.Context())
	for _, c := range []struct{ size, depth, tasks int }{
		{1, 0, 1},
		{1, 5, 2}, // a depth greater than the number of rows
		{2, 2, 3}, // no way: all squares of the second row are attacked
		{4, 4, 17},
		{6, 2, 1 + 6 + 20},
		{8, 3, 1 + 8 + 42 + 140},
		{8, 8, 2057}, // a task for each node of the search tree
	} {
		found, err := Place.Submit(ctx, Branch{empty(c.size), c.depth}).Get(ctx)
		if want := (Found{known[c.size-1], c.tasks}); err != nil || found != want {
			t.Errorf("%d queens, depth %d: got %+v, error %v; want %+v", c.size, c.depth, found, err, want)
		}
	}
}

func TestFlagsOutOfRange(t *testing.T) {
	before, beforeDepth := *size, *depth
	defer func() { *size, *depth = before, beforeDepth }()
	for _, c := range []struct{ size, depth int }{{0, 3}, {len(known) + 1, 3}, {-1, 3}, {8, -1}} {
		*size, *depth = c.size, c.depth
		if err := run(t.Context()); !errors.Is(err, tidemill.ErrUsage) {
			t.Errorf("-n %d -depth %d: got error %v, want %v", c.size, c.depth, err, tidemill.ErrUsage)
		}
	}
}
