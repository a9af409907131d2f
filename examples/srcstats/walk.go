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

// File is the input of one parse-file task. It includes the size and the modification time, so that the task of a changed
// file is another one in a named job, and the recorded result of the old file is not used for it.
type File struct {
	Root    string // absolute
	Path    string // relative to Root, with slashes
	Size    int64  // bytes
	ModTime int64  // nanoseconds since 1970
}

// dir returns the file's directory, relative to Root, with slashes.
func (f File) dir() string { return path.Dir(f.Path) }

// walk returns the Go files below root. It follows no symbolic links, except if root itself is one.
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

// list returns the Go files and the directories in the directory dir, a path relative to root with slashes. Go files are
// regular files named *.go. A name that is not UTF-8 is an error, since the JSON report could not represent it.
func list(root, dir string) (files []File, dirs []string, err error) {
	entries, err := fs.ReadDir(os.DirFS(root), dir)
	if vanished(dir, err) {
		_, err = os.Stat(root) // if root is missing too, the tree is not on this machine
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

// vanished reports whether err means that name was removed after its directory had been listed. It is then not a part of
// the tree. A missing root is an error.
func vanished(name string, err error) bool {
	return errors.Is(err, fs.ErrNotExist) && name != "."
}
