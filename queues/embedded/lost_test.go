package embedded_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/queues/embedded"
)

// A directory that is deleted, or that another one has replaced, is lost within seconds, and stays so.
func TestLostDirectory(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(dir string) error{
		"deleted": os.RemoveAll,
		"replaced": func(dir string) error {
			return errors.Join(os.Rename(dir, dir+".old"), os.Mkdir(dir, 0o755), os.WriteFile(filepath.Join(dir, "lock"), nil, 0o600),
				os.Mkdir(filepath.Join(dir, "streams"), 0o755))
		},
		"without its streams": func(dir string) error { return os.RemoveAll(filepath.Join(dir, "streams")) },
		"with a file where the streams are": func(dir string) error {
			streams := filepath.Join(dir, "streams")
			return errors.Join(os.RemoveAll(streams), os.WriteFile(streams, nil, 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "dir")
			s := open(t, embedded.Config{Dir: dir})
			lost := make(chan error, 2)
			s.NotifyLost(func(err error) { lost <- err })
			if err := s.Lost(); err != nil {
				t.Errorf("a directory in use: got error %v, want none", err)
			}
			check(t, lose(dir))
			select {
			case err := <-lost:
				if !errors.Is(err, embedded.ErrDirLost) || !strings.Contains(err.Error(), dir) {
					t.Errorf("got error %v, want %v with %s", err, embedded.ErrDirLost, dir)
				}
			case <-time.After(30 * time.Second):
				t.Fatal("got no notice of the loss within 30 s")
			}
			s.NotifyLost(func(err error) { lost <- err })
			if err := <-lost; err == nil || s.Lost() == nil {
				t.Errorf("after the loss: got notice %v, and %v; want the loss both times", err, s.Lost())
			}
		})
	}
}
