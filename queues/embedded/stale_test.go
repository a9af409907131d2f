package embedded_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/tidemill/tidemill/queues/embedded"
)

// holdMemory runs a server in memory until the process is killed.
func holdMemory(string) error {
	if _, err := embedded.Start(embedded.Config{Logger: quiet}); err != nil {
		return err
	}
	fmt.Println("held")
	select {}
}

// The temporary directory of a process that was killed is removed by the next one; those of processes that live stay, and so
// does everything else in the same place.
func TestTemporaryDirectoryOfAKilledProcess(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	others := filepath.Join(tmp, "tidemill-mine")
	check(t, os.Mkdir(others, 0o755))
	check(t, os.WriteFile(filepath.Join(others, "lock"), nil, 0o600))
	check(t, os.WriteFile(filepath.Join(others, "work"), nil, 0o600))
	before := dirsIn(t, tmp)
	killed, out := process(t, "memory", "", nil)
	if !out.Scan() {
		t.Fatalf("the process that is to be killed printed nothing: %v", out.Err())
	}
	stale := dirsIn(t, tmp)
	_, out = process(t, "memory", "", nil)
	if !out.Scan() {
		t.Fatalf("the process that lives on printed nothing: %v", out.Err())
	}
	if all := dirsIn(t, tmp); len(stale) != len(before)+1 || len(all) != len(stale)+1 {
		t.Fatalf("got the directories %q, then %q with one process and %q with two; want one more each time", before, stale, all)
	}
	check(t, killed.Process.Kill())
	_ = killed.Wait()
	open(t, embedded.Config{}).Close()
	left := dirsIn(t, tmp)
	for _, dir := range stale {
		if gone := !slices.Contains(left, dir); gone == slices.Contains(before, dir) {
			t.Errorf("%s after the next start: gone: %t; want that of the killed process gone, and the other one not", dir, gone)
		}
	}
	if len(left) != len(before)+1 {
		t.Errorf("after the next start: got %q, want those from before, and that of the process that lives", left)
	}
}

func dirsIn(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	check(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
