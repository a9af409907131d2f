package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidemill/tidemill"
)

func TestNestedAndJobExcludeEachOther(t *testing.T) {
	defer func() { *nested = false }()
	for _, c := range []struct {
		nested bool
		job    string
		want   bool // that the error names both flags
	}{
		{false, "", false}, {false, "count", false}, {true, "", false}, {true, "count", true},
	} {
		*nested = c.nested
		t.Setenv("TIDEMILL_JOB", c.job)
		err := run(t.Context()) // of the other runs, the error is that there is no session
		if got := errors.Is(err, tidemill.ErrUsage) && strings.Contains(err.Error(), "-nested and -job"); got != c.want {
			t.Errorf("-nested %t, job %q: got error %v; want ErrUsage that names both flags: %t", c.nested, c.job, err, c.want)
		}
	}
}

// An error deep in the tree reaches the driver with its path.
func TestNestedTasksReportWhatCannotBeListed(t *testing.T) {
	root := t.TempDir()
	write(t, root, "a/b/c/d/e/good.go", "package e\n")
	write(t, root, "a/b/c/d/e/bad\xff.go", "package e\n")
	report, err := countNested(open(t), root)
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q is not UTF-8", "a/b/c/d/e/bad\xff.go")) {
		t.Errorf("got %+v, error %v; want an error that names the file", report, err)
	}
}

// A directory that was removed after it had been listed does not belong to the tree. A missing root is an error.
func TestRemovedDirectory(t *testing.T) {
	ctx, root := open(t), t.TempDir()
	tree, err := CountDir.Submit(ctx, Dir{Root: root, Path: "gone"}).Get(ctx)
	if err != nil || tree.Tasks != 1 || tree.Stats.Files != 0 || tree.Stats.Dirs != 0 {
		t.Errorf("a removed directory: got %+v, error %v; want 1 task, no files and no directories", tree, err)
	}
	root = filepath.Join(root, "elsewhere")
	if tree, err := CountDir.Submit(ctx, Dir{Root: root, Path: "a"}).Get(ctx); err == nil || !strings.Contains(err.Error(), root) {
		t.Errorf("a missing root: got %+v, error %v; want an error that names the root", tree, err)
	}
}
