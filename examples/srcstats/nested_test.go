package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidemill/tidemill"
)

func TestNestedTasksAreNotForJobs(t *testing.T) {
	defer func() { *nested = false }()
	for _, c := range []struct {
		nested bool
		job    string
		says   bool
	}{
		{false, "", false}, {false, "count", false}, {true, "", false}, {true, "count", true},
	} {
		*nested = c.nested
		t.Setenv("TIDEMILL_JOB", c.job)
		if err := run(t.Context()); !errors.Is(err, tidemill.ErrUsage) || strings.Contains(err.Error(), "-nested and -job") != c.says {
			t.Errorf("-nested %t, job %q: %v", c.nested, c.job, err)
		}
	}
}

// What is wrong deep in a tree is told from there.
func TestNestedTasksTellWhatCannotBeListed(t *testing.T) {
	root := t.TempDir()
	write(t, root, "a/b/c/d/e/good.go", "package e\n")
	write(t, root, "a/b/c/d/e/bad\xff.go", "package e\n")
	report, err := countNested(open(t), root)
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q is not UTF-8", "a/b/c/d/e/bad\xff.go")) {
		t.Errorf("%+v, %v", report, err)
	}
}

// A directory that was removed after it had been listed is no part of the tree. That all of the tree is missing says
// something about the node, and is an error.
func TestADirectoryThatIsGone(t *testing.T) {
	ctx, root := open(t), t.TempDir()
	tree, err := CountDir.Submit(ctx, Dir{Root: root, Path: "gone"}).Get(ctx)
	if err != nil || tree.Tasks != 1 || tree.Stats.Files != 0 || tree.Stats.Dirs != 0 {
		t.Errorf("%+v, %v", tree, err)
	}
	root = filepath.Join(root, "elsewhere")
	if tree, err := CountDir.Submit(ctx, Dir{Root: root, Path: "a"}).Get(ctx); err == nil || !strings.Contains(err.Error(), root) {
		t.Errorf("%+v, %v; want an error that names the root", tree, err)
	}
}
