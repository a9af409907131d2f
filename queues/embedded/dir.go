package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tidemill/tidemill/internal/platform"
)

// ErrDirHeld says that another process uses the directory. The error names it.
var ErrDirHeld = errors.New("the directory is in use")

// The files of a directory: the lock, whose text names the holder; a mark that exists while the directory is in use; the version
// of the layout; and the streams.
const (
	lockFile    = "lock"
	runningFile = "running"
	layoutFile  = "layout"
	storeFolder = "streams"

	layout = "tidemill 1\n"
)

// dir is a directory in use. The system releases the lock when the process ends, however it ends.
type dir struct {
	path     string
	lock     *os.File
	unclean  bool        // the last use did not end by close
	keepMark atomic.Bool // close leaves the mark
}

// openDir creates the directory unless it exists, and locks it.
func openDir(path string) (*dir, error) {
	path, err := filepath.Abs(path) // a program may change its working directory later
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, err
	}
	d := &dir{path: path}
	if err := d.takeLock(); err != nil {
		return nil, err
	}
	err = d.checkLayout()
	if err == nil {
		err = d.mark()
	}
	if err != nil {
		_ = d.lock.Close()
		return nil, err
	}
	return d, nil
}

func (d *dir) store() string { return filepath.Join(d.path, storeFolder) }

// takeLock takes the lock and writes the holder into its file.
func (d *dir) takeLock() error {
	name := filepath.Join(d.path, lockFile)
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	if err := platform.LockFile(f); err != nil {
		_ = f.Close()
		if !errors.Is(err, platform.ErrLocked) {
			return fmt.Errorf("lock %s: %w", name, err)
		}
		holder, _ := os.ReadFile(name) // empty if the holder has not written it yet
		return fmt.Errorf("%w: %s: %s", ErrDirHeld, d.path, strings.TrimSpace(string(holder)))
	}
	d.lock = f
	host, _ := os.Hostname() // "" if it has none
	words := fmt.Sprintf("by %s, process %d on %s, since %s\n",
		filepath.Base(os.Args[0]), os.Getpid(), host, time.Now().Format(time.RFC3339))
	err = f.Truncate(0)
	if err == nil {
		_, err = f.WriteAt([]byte(words), 0)
	}
	if err != nil && !platform.IsDiskFull(err) { // a full disk must still open, even if the holder cannot be written
		_ = f.Close()
		return err
	}
	return nil
}

// checkLayout returns an error if the directory has another layout, or the files of somebody else.
func (d *dir) checkLayout() error {
	name := filepath.Join(d.path, layoutFile)
	found, err := os.ReadFile(name)
	switch {
	case err == nil && string(found) == layout:
		return nil
	case err == nil:
		return fmt.Errorf("%s has another version of the layout: its file says %q, want %q", d.path, strings.TrimSpace(string(found)), strings.TrimSpace(layout))
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() != lockFile && e.Name() != "lost+found" {
			return fmt.Errorf("%s is not empty and is not a directory of Tidemill (it has %s): use another one", d.path, e.Name())
		}
	}
	return writeSynced(name, layout)
}

// mark creates the mark. If it exists, the last use did not end by close.
func (d *dir) mark() error {
	name := filepath.Join(d.path, runningFile)
	_, err := os.Stat(name)
	if err == nil {
		d.unclean = true
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return writeSynced(name, "")
}

// close removes the mark, unless keepMark is set, and then releases the lock.
func (d *dir) close() error {
	var err error
	if !d.keepMark.Load() {
		err = os.Remove(filepath.Join(d.path, runningFile))
	}
	return errors.Join(err, platform.SyncDir(d.path), d.lock.Close())
}

// writeSynced writes a file that after a power cut is either complete or does not exist.
func writeSynced(name, text string) error {
	f, err := os.OpenFile(name+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(name+".new", name)
	}
	if err != nil {
		return err
	}
	return platform.SyncDir(filepath.Dir(name))
}
