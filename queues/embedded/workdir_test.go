package embedded_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/tidemill/tidemill/queues/embedded"
)

// A relative directory is that of the time of Start: the server is restarted, and closed, after the program has changed its
// working directory.
func TestWorkingDirectoryChanges(t *testing.T) {
	home := t.TempDir()
	t.Chdir(home)
	s := open(t, embedded.Config{Dir: "work"})
	elsewhere := t.TempDir()
	t.Chdir(elsewhere)
	check(t, s.Restart())
	s.Close()
	if entries, err := os.ReadDir(elsewhere); err != nil || len(entries) > 0 {
		t.Errorf("the new working directory: got %v, error %v; want it empty", entries, err)
	}
	if s = open(t, embedded.Config{Dir: filepath.Join(home, "work")}); s.Unclean() {
		t.Error("the directory that was meant: got unclean, want that Close has found it")
	}
}

// In memory, a server starts although $TMPDIR is missing or relative, and leaves nothing behind.
func TestTempDirOfTheEnvironment(t *testing.T) {
	home := t.TempDir()
	t.Chdir(home)
	check(t, os.Mkdir("relative", 0o700))
	for _, dir := range []string{filepath.Join(home, "missing"), "relative"} {
		t.Setenv("TMPDIR", dir)
		s := open(t, embedded.Config{})
		t.Chdir(t.TempDir())
		s.Close() // removes what it has made
		t.Chdir(home)
	}
	if entries, err := os.ReadDir("relative"); err != nil || len(entries) > 0 {
		t.Errorf("$TMPDIR after Close: got %v, error %v; want it empty", entries, err)
	}
}
