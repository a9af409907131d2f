package embedded

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// tempDirs returns where a server without Config.Dir tries to make its temporary directory, in this order. The first is
// $TMPDIR or /tmp; on Windows it is %TMP% or %TEMP%.
func tempDirs() []string {
	places := []string{os.TempDir()}
	if runtime.GOOS != "windows" {
		places = append(places, "/dev/shm", "/tmp", "/var/tmp")
	}
	if cache, err := os.UserCacheDir(); err == nil {
		places = append(places, cache)
	}
	var dirs []string
	for _, place := range places {
		if !slices.Contains(dirs, place) {
			dirs = append(dirs, place)
		}
	}
	return dirs
}

// makeTempDir makes a directory in the first of dirs where it can, and returns its absolute path, since the program may
// change its working directory later. The error names all that were tried.
func makeTempDir(dirs []string) (string, error) {
	var errs []error
	for _, dir := range dirs {
		parent, err := filepath.Abs(dir)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		made, err := os.MkdirTemp(parent, "tidemill-")
		if err == nil {
			return made, nil
		}
		errs = append(errs, err)
	}
	return "", fmt.Errorf("cannot make a temporary directory, which the server needs for streams in memory, too; tried %s:"+
		" set TMPDIR (on Windows TMP) to a directory that can be written: %w", strings.Join(dirs, ", "), errors.Join(errs...))
}
