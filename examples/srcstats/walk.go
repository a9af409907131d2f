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

// walk lists the Go files below root. It follows no symbolic link but root itself, which may well be one.
func walk(root string) ([]File, error) {
	var all []File
	for dirs := []string{"."}; len(dirs) > 0; {
		last := len(dirs) - 1
		files, below, err := list(root, dirs[last])
		if err != nil {
			return nil, err
		}
		all = append(all, files...)
		dirs = append(dirs[:last], below...)
	}
	return all, nil
}

// list lists what is in a directory, a path below root with slashes: the Go files, which are regular files named
// *.go, and the directories. A name that is not UTF-8 is an error: neither a task's input nor the report could hold it.
func list(root, dir string) (files []File, dirs []string, err error) {
	entries, err := fs.ReadDir(os.DirFS(root), dir)
	if vanished(dir, err) {
		_, err = os.Stat(root) // if that is missing, too, the tree is not on this machine
	}
	if err != nil {
		return nil, nil, fmt.Errorf("list the Go files below %s: %w", root, err)
	}
	for _, entry := range entries {
		name := path.Join(dir, entry.Name())
		switch {
		case !utf8.ValidString(name):
			return nil, nil, fmt.Errorf("list the Go files below %s: the name %q is not UTF-8", root, name)
		case entry.IsDir():
			dirs = append(dirs, name)
		case entry.Type().IsRegular() && strings.HasSuffix(name, ".go"):
			info, err := entry.Info()
			if vanished(name, err) {
				continue
			}
			if err != nil {
				return nil, nil, fmt.Errorf("list the Go files below %s: %w", root, err)
			}
			files = append(files, File{root, name, info.Size(), info.ModTime().UnixNano()})
		}
	}
	return files, dirs, nil
}

// vanished tells whether err says that name was removed after its directory had been listed, and
// so is no part of the tree. A root that is not there is an error.
func vanished(name string, err error) bool {
	return errors.Is(err, fs.ErrNotExist) && name != "."
}
