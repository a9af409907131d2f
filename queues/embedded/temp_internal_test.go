package embedded

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Where $TMPDIR is missing, a server takes another directory. The path stays right when the program changes its working
// directory.
func TestTempDirIsMadeElsewhere(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.Mkdir("relative", 0o700); err != nil {
		t.Fatal(err)
	}
	made, err := makeTempDir([]string{filepath.Join(t.TempDir(), "missing"), "relative"})
	if err != nil || !filepath.IsAbs(made) || filepath.Base(filepath.Dir(made)) != "relative" {
		t.Fatalf("got %q, error %v; want an absolute path below the directory relative", made, err)
	}
	t.Chdir(t.TempDir())
	if _, err := os.Stat(made); err != nil {
		t.Errorf("in another working directory: got error %v, want that the directory exists", err)
	}
}

// If no directory can be written, the error names all that were tried.
func TestNoTempDir(t *testing.T) {
	home := t.TempDir()
	file := filepath.Join(home, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	dirs := []string{filepath.Join(home, "missing"), file}
	_, err := makeTempDir(dirs)
	for _, want := range append(dirs, "set TMPDIR") {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got error %v, want one with %q", err, want)
		}
	}
}

// The directory of the environment comes first; each is tried once.
func TestTempDirs(t *testing.T) {
	dirs := tempDirs()
	if dirs[0] != os.TempDir() || len(dirs) < 2 {
		t.Errorf("got %q, want %s and others after it", dirs, os.TempDir())
	}
	slices.Sort(dirs)
	if once := slices.Compact(slices.Clone(dirs)); len(once) < len(dirs) {
		t.Errorf("got %q, want each once", dirs)
	}
}
