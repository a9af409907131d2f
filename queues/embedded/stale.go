package embedded

import (
	"os"
	"path/filepath"
	"sync"

	"github.com/tidemill/tidemill/internal/platform"
)

// tempPattern matches the names of temporary directories.
const tempPattern = "tidemill-*"

// tempLocks keeps the locks from the garbage collector, which would unlock the directory of a server that nothing refers to any
// more, and that was not closed.
var tempLocks sync.Map

// swept has the directories in which this process has looked for what killed processes have left there.
var swept sync.Map

// lockTempDir locks the temporary directory of a server while the process lives, so that others can tell that a killed process
// has left it; once in a process it removes those that were left beside it. It returns the lock, for closeTempLock, nil if there is none: without a lock the directory is left alone by others.
func lockTempDir(path string) *os.File {
	lock := newTempLock(path)
	parent := filepath.Dir(path)
	if _, done := swept.LoadOrStore(parent, true); !done {
		removeStale(parent)
	}
	return lock
}

// newTempLock creates the file of the lock. It has its name only once it is locked, so that nobody takes it for that of a
// process that was killed.
func newTempLock(path string) *os.File {
	name := filepath.Join(path, lockFile)
	f, err := os.OpenFile(name+".new", os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil
	}
	if platform.LockFile(f) != nil || os.Rename(name+".new", name) != nil {
		_ = f.Close()
		return nil
	}
	tempLocks.Store(f, true)
	return f
}

// closeTempLock gives the lock up; nil is none.
func closeTempLock(f *os.File) {
	if f != nil {
		tempLocks.Delete(f)
		_ = f.Close()
	}
}

// removeStale removes the temporary directories in parent whose lock nobody has. What cannot be removed, for example since it is
// another user's, stays.
func removeStale(parent string) {
	names, _ := filepath.Glob(filepath.Join(parent, tempPattern, lockFile)) // the pattern is valid
	for _, name := range names {
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			continue
		}
		stale := platform.LockFile(f) == nil && isTempDir(filepath.Dir(name))
		_ = f.Close()
		if stale {
			_ = os.RemoveAll(filepath.Dir(name))
		}
	}
}

// isTempDir reports whether the directory has nothing in it but what a temporary one has: a Config.Dir, or what somebody else has
// given such a name, is left alone.
func isTempDir(path string) bool {
	entries, err := os.ReadDir(path)
	for _, e := range entries {
		if e.Name() != lockFile && e.Name() != "jetstream" {
			return false
		}
	}
	return err == nil
}
