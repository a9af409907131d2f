package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestWalk(t *testing.T) {
	root := t.TempDir()
	for _, path := range []string{
		"z.go", "a/b/c.go", "a/b.go", "a/_x.go", "a/.hidden.go", ".git/d.go", "vendor/e.go", "testdata/f.go",
		"a name/with blanks, ü.go", "go.mod", "a.go.txt", "agogo", "a/README",
	} {
		write(t, root, path, "package p\n")
	}
	write(t, root, "dir.go/in.go", "package in\n")
	symlink(t, "z.go", filepath.Join(root, "link.go"))
	symlink(t, "a", filepath.Join(root, "linkdir"))
	symlink(t, "nowhere.go", filepath.Join(root, "dangling.go"))

	want := []string{
		".git/d.go", "a name/with blanks, ü.go", "a/.hidden.go", "a/_x.go", "a/b.go", "a/b/c.go",
		"dir.go/in.go", "testdata/f.go", "vendor/e.go", "z.go",
	}
	if got := paths(t, root); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}

	link := filepath.Join(t.TempDir(), "root")
	symlink(t, root, link)
	if got := paths(t, link); !slices.Equal(got, want) {
		t.Errorf("through a symbolic link to the root: got %q, want %q", got, want)
	}
}

func TestWalkReturnsSizeAndModTime(t *testing.T) {
	root := t.TempDir()
	write(t, root, "a/b.go", "package b\n")
	changed := time.Unix(1_700_000_000, 123_456_000)
	if err := os.Chtimes(filepath.Join(root, "a/b.go"), changed, changed); err != nil {
		t.Fatal(err)
	}
	files, err := walk(root)
	want := File{Root: root, Path: "a/b.go", Size: 10, ModTime: 1_700_000_000_123_456_000}
	if err != nil || len(files) != 1 || files[0] != want {
		t.Fatalf("got %+v, error %v; want %+v", files, err, want)
	}
	if dir := files[0].dir(); dir != "a" {
		t.Errorf("got directory %q, want a", dir)
	}
}

func TestWalkOfAnEmptyTree(t *testing.T) {
	if files, err := walk(t.TempDir()); err != nil || len(files) != 0 {
		t.Errorf("got %v, error %v; want no files", files, err)
	}
}

func TestWalkWithoutARoot(t *testing.T) {
	root := filepath.Join(t.TempDir(), "gone")
	if files, err := walk(root); err == nil || !strings.Contains(err.Error(), root) {
		t.Errorf("got %v, error %v; want an error that names the root", files, err)
	}
}

func TestWalkRefusesANameThatIsNotUTF8(t *testing.T) {
	root := t.TempDir()
	write(t, root, "a\xff.go", "package a\n")
	if files, err := walk(root); err == nil || !strings.Contains(err.Error(), `the name "a\xff.go" is not UTF-8`) {
		t.Errorf("got %v, error %v; want an error that names the file", files, err)
	}
}

func paths(t *testing.T, root string) []string {
	t.Helper()
	files, err := walk(root)
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, file := range files {
		paths = append(paths, file.Path)
	}
	slices.Sort(paths)
	return paths
}

func symlink(t *testing.T, target, name string) {
	t.Helper()
	if err := os.Symlink(target, name); err != nil {
		t.Fatal(err)
	}
}
