package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tidemill/tidemill"
)

func TestRootArg(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "file", "")
	t.Chdir(dir)
	for _, c := range []struct {
		args    []string
		usage   bool
		message string
	}{
		{[]string{".", "-check"}, true, "after all flags; got arguments . -check"},
		{[]string{"gone"}, false, "ROOT: stat gone: no such file or directory"},
		{[]string{"file"}, false, "ROOT: file is not a directory"},
		{[]string{""}, false, "ROOT: "},
	} {
		_, err := rootArg(c.args)
		if err == nil || !strings.Contains(err.Error(), c.message) || errors.Is(err, tidemill.ErrUsage) != c.usage {
			t.Errorf("arguments %q: got error %v, want %q in it; want ErrUsage: %t", c.args, err, c.message, c.usage)
		}
	}
	for _, args := range [][]string{nil, {"."}} {
		if root, err := rootArg(args); err != nil || !filepath.IsAbs(root) {
			t.Errorf("arguments %q: got %q, error %v; want an absolute path", args, root, err)
		}
	}
}

// open returns the context of a cluster that ends with the test.
func open(t *testing.T) context.Context {
	t.Helper()
	cluster, err := tidemill.Open(t.Context(), tidemill.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return cluster.Context(t.Context())
}

// A job that is run again parses only the files that have changed.
func TestJobIsResumed(t *testing.T) {
	root, dir := t.TempDir(), t.TempDir()
	for i := range 20 {
		write(t, root, fmt.Sprintf("p%d/f%d.go", i%3, i), fmt.Sprintf("package p\n\nfunc f%d() {}\n", i))
	}
	for run, c := range []struct {
		change  string // of the file p0/f0.go
		resumed int
	}{
		{"", 0}, {"", 20}, {"package p\n\n// One more line.\nfunc f0() {}\n", 19}, {"", 20},
	} {
		if c.change != "" {
			write(t, root, "p0/f0.go", c.change)
		}
		cluster, err := tidemill.Open(t.Context(), tidemill.Config{Dir: dir, Job: "count"})
		if err != nil {
			t.Fatal(err)
		}
		report, err := countTree(cluster.Context(t.Context()), root)
		if err != nil {
			t.Fatal(err)
		}
		if err := cluster.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		want, err := plainLoop(t.Context(), root)
		if err != nil {
			t.Fatal(err)
		}
		if diff := gocmp.Diff(want, report.Stats, cmpopts.EquateEmpty()); diff != "" || report.Resumed != c.resumed {
			t.Errorf("run %d: got %d files resumed, want %d; Stats (-plain loop +tasks):\n%s", run, report.Resumed, c.resumed, diff)
		}
	}
}

func TestTasksAndPlainLoopAgree(t *testing.T) {
	broken := t.TempDir()
	write(t, broken, "a/good.go", "package a\n")
	write(t, broken, "a/bad.go", "package )\n")
	write(t, broken, "worse.go", "")

	large := t.TempDir() // a directory with more files than one task adds up
	for i := range sumLimit + 1 {
		write(t, large, fmt.Sprintf("f%d.go", i), fmt.Sprintf("package p\n\nfunc f%d() {}\n", i))
	}

	for _, c := range []struct {
		name, root    string
		tasks, nested int
	}{
		{"tree", "testdata/tree", 5 + 4, 5 + 5},
		{"broken", broken, 3 + 2, 3 + 1},
		{"large", large, sumLimit + 1 + 2 + 1, sumLimit + 1},
		{"empty", t.TempDir(), 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			root, err := filepath.Abs(c.root)
			if err != nil {
				t.Fatal(err)
			}
			want, err := plainLoop(t.Context(), root)
			if err != nil {
				t.Fatal(err)
			}
			report, err := countTree(open(t), root)
			if err != nil {
				t.Fatal(err)
			}
			nested, err := countNested(open(t), root)
			if err != nil {
				t.Fatal(err)
			}
			if report.Tasks != c.tasks || nested.Tasks != c.nested {
				t.Errorf("got %d tasks, want %d; got %d nested tasks, want %d", report.Tasks, c.tasks, nested.Tasks, c.nested)
			}
			if diff := gocmp.Diff(want, report.Stats, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("Stats (-plain loop +tasks):\n%s", diff)
			}
			if diff := gocmp.Diff(want, nested.Stats, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("Stats (-plain loop +nested tasks):\n%s", diff)
			}
		})
	}
}
