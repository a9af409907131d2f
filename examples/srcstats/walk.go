package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"unicode/utf8"
)

// File is the input of one parse-file task. Its size and its modification time are part of it so
// that a changed file is another task, and a result that was recorded for the old one is not taken
// for the new one's.
type File struct {
	Root    string // absolute
	Path    string // relative to Root, with slashes
	Size    int64  // bytes
	ModTime int64  // nanoseconds since 1970
}

// dir returns the file's directory, relative to Root, with slashes.
func (f File) dir() string { return path.Dir(f.Path) }

// walk lists the Go files below root: regular files named *.go. It follows no symbolic link but
// root itself, which may well be one. A name that is not UTF-8 is an error: neither a task's input nor
// the report could hold it.
func walk(root string) ([]File, error) {
	var files []File
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case vanished(name, err):
			return nil
		case err != nil:
			return err
		case !utf8.ValidString(name):
			return fmt.Errorf("the name %q is not UTF-8", name)
		case !entry.Type().IsRegular() || !strings.HasSuffix(name, ".go"):
			return nil
		}
		info, err := entry.Info()
		if vanished(name, err) {
			return nil
		}
		if err != nil {
			return err
		}
		files = append(files, File{root, name, info.Size(), info.ModTime().UnixNano()})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the Go files below %s: %w", root, err)
	}
	return files, nil
}

// vanished tells whether err says that name was removed after its directory had been listed, and
// so is no part of the tree. A root that is not there is an error.
func vanished(name string, err error) bool {
	return errors.Is(err, fs.ErrNotExist) && name != "."
}
