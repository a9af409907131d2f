// Package examples_test runs all programs below this folder from outside, as a user does who has read of them.
package examples_test

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// patience bounds the run of one program.
const patience = time.Minute

// smallTree is a directory with a few Go files, for the programs that read one.
const smallTree = "srcstats/testdata/tree"

// Each program runs without a flag and without an argument: it ends with 0, and prints no warning. Those with a file
// want.txt in their directory print its text.
func TestProgramsRunWithoutArguments(t *testing.T) {
	bin := build(t)
	for _, dir := range programs(t) {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			t.Parallel() // most of them wait more than they work
			got := run(t, filepath.Join(bin, filepath.Base(dir)))
			want, err := os.ReadFile(filepath.Join(dir, "want.txt"))
			if err == nil && got != string(want) {
				t.Errorf("got output:\n%s\nwant:\n%s", got, want)
			}
			if got == "" {
				t.Error("got no output, want some")
			}
		})
	}
}

// The programs that read a directory take it as their only argument.
func TestProgramsWithADirectoryAlone(t *testing.T) {
	bin := build(t)
	tree, err := filepath.Abs(smallTree)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"srcstats": "files", "invertedindex": "greet.go"} {
		if got := run(t, filepath.Join(bin, name), tree); !strings.Contains(got, want) {
			t.Errorf("%s %s: got output:\n%s\nwant %q in it", name, smallTree, got, want)
		}
	}
}

// The help of a program names the program, and not the path of its file, which under go run is that of a temporary one.
func TestHelpNamesTheProgram(t *testing.T) {
	bin := build(t)
	for name, want := range map[string]string{"square": "Usage of square:\n", "srcstats": "usage: srcstats [flags]"} {
		out, err := exec.CommandContext(bounded(t), filepath.Join(bin, name), "-h").CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) || strings.Contains(string(out), bin) {
			t.Errorf("%s -h: got error %v, output:\n%s\nwant no error, %q in it, and no path", name, err, out, want)
		}
	}
}

// built is the directory of the programs once build was called.
var built string

func TestMain(m *testing.M) {
	code := m.Run()
	if built != "" {
		_ = os.RemoveAll(built)
	}
	os.Exit(code)
}

// build builds all programs, once and as go run does, without debug information, and returns the directory in which they are.
func build(t *testing.T) string {
	t.Helper()
	if built != "" {
		return built
	}
	bin, err := os.MkdirTemp("", "programs") //nolint:usetesting // all tests share it; TestMain removes it
	if err != nil {
		t.Fatal(err)
	}
	built = bin
	if out, err := exec.Command("go", "build", "-ldflags=-s -w", "-o", bin, "./...").CombinedOutput(); err != nil {
		t.Fatalf("build the programs: %v\n%s", err, out)
	}
	return bin
}

// programs returns the directories of all programs.
func programs(t *testing.T) (dirs []string) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == "testdata":
			return fs.SkipDir
		case d.Name() == "main.go":
			dirs = append(dirs, filepath.Dir(path))
		}
		return nil
	})
	if err != nil || len(dirs) < 14 {
		t.Fatalf("found the programs %q, error %v; want at least 14", dirs, err)
	}
	return dirs
}

// run runs a program in a small tree, and returns its output. It fails the test unless the program ends with 0, and without a
// line in the log.
func run(t *testing.T, program string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(bounded(t), program, args...)
	cmd.Dir = smallTree
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || strings.Contains(stderr.String(), "WARN") || strings.Contains(stderr.String(), "ERROR") {
		t.Errorf("%s %q: got error %v, standard error:\n%s\nwant no error, and no warning", filepath.Base(program), args, err, &stderr)
	}
	return string(out)
}

// bounded returns a context for one program.
func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}
