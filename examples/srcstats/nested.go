package main

import (
	"context"
	"fmt"
	"time"

	"github.com/tidemill/tidemill/engine"
)

// CountDir counts what is below a directory by nested tasks, one for each directory and file in it. It submits itself,
// and so is assigned in init.
var CountDir *engine.Func[Dir, Tree]

func init() { CountDir = engine.NewFunc("count-dir", countDir) }

// Dir is the input of one count-dir task.
type Dir struct {
	Root string // absolute
	Path string // relative to Root, with slashes
}

// Tree is what is known of all below a directory.
type Tree struct {
	Stats Stats
	Tasks int // that counted it
}

// countNested counts the tree below root as countTree does, by nested tasks. Directories are listed by many tasks at
// once, and the first files are parsed before the last directory is known.
//
// It is nothing for a named job, which records what its driver submits. Here those are few and large, so that little
// would be gone on with; and they are the same tasks whatever has changed below, so that it would not be seen.
func countNested(ctx context.Context, root string) (Report, error) {
	start := time.Now()
	b, err := submitBelow(ctx, Dir{root, "."})
	if err != nil {
		return Report{}, err
	}
	b.show(ctx)
	all, err := b.sum(ctx)
	if err != nil {
		return Report{}, err
	}
	return newReport(root, all.Stats, work{tasks: all.Tasks}, time.Since(start)), nil
}

// below is what counts a directory.
type below struct {
	files []engine.Ref[Stats]
	dirs  []engine.Ref[Tree]
}

// submitBelow submits a task for each directory and each file in a directory.
func submitBelow(ctx context.Context, dir Dir) (b below, err error) {
	files, dirs, err := list(dir.Root, dir.Path)
	if err != nil {
		return b, err
	}
	for _, path := range dirs {
		b.dirs = append(b.dirs, CountDir.Submit(ctx, Dir{dir.Root, path}))
	}
	for _, file := range files {
		b.files = append(b.files, ParseFile.Submit(ctx, file))
	}
	return b, nil
}

// show shows progress until all have ended, or the waiting has. It leaves to sum what came of them.
func (b below) show(ctx context.Context) {
	progress := newProgress("srcstats", len(b.files)+len(b.dirs), "files and directories of the root")
	defer progress.end()
	for _, err := range engine.Completed(ctx, b.files) {
		if err == nil {
			progress.step()
		}
	}
	for _, err := range engine.Completed(ctx, b.dirs) {
		if err == nil {
			progress.step()
		}
	}
}

// sum waits for all and adds them up.
func (b below) sum(ctx context.Context) (Tree, error) {
	files, err := engine.GetAll(ctx, b.files)
	if err != nil {
		return Tree{}, fmt.Errorf("parse a file: %w", err)
	}
	dirs, err := engine.GetAll(ctx, b.dirs)
	if err != nil {
		return Tree{}, fmt.Errorf("count a directory: %w", err)
	}
	all := Tree{Tasks: len(files)}
	for _, file := range files {
		all.Stats.Add(file)
	}
	all.Stats.Dirs = min(len(files), 1) // those that hold no Go files do not count
	for _, dir := range dirs {
		all.Stats.Add(dir.Stats)
		all.Tasks += dir.Tasks
	}
	return all, nil
}

// countDir is the work of one task. While it waits, its slot runs what it waits for.
func countDir(ctx context.Context, dir Dir) (Tree, error) {
	b, err := submitBelow(ctx, dir)
	if err != nil {
		return Tree{}, err
	}
	all, err := b.sum(ctx)
	all.Tasks++
	return all, err
}
