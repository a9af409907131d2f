package main

import (
	"context"
	"fmt"
	"time"

	"github.com/tidemill/tidemill/engine"
)

// CountDir counts everything below a directory by nested tasks, one for each directory and file in it. It submits itself,
// so it is assigned in init.
var CountDir *engine.Func[Dir, Tree]

func init() { CountDir = engine.NewFunc("count-dir", countDir) }

// Dir is the input of one count-dir task.
type Dir struct {
	Root string // absolute
	Path string // relative to Root, with slashes
}

// Tree is the sum of everything below a directory.
type Tree struct {
	Stats Stats
	Tasks int // how many tasks counted it
}

// countNested counts the tree below root as countTree does, but by nested tasks. Many tasks list directories at the same
// time, and the first files are parsed before the last directory is listed.
//
// Do not use it in a named job. A job records only the tasks of its driver. Those are few and large here, so little could
// be resumed; and their inputs do not change when files do, so recorded results would be out of date.
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

// below has the results of what is directly in a directory.
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

// show shows progress until all tasks or ctx have ended. Failures are left to sum.
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

// sum waits for all results and adds them up.
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
	all.Stats.Dirs = min(len(files), 1) // only directories with Go files count
	for _, dir := range dirs {
		all.Stats.Add(dir.Stats)
		all.Tasks += dir.Tasks
	}
	return all, nil
}

// countDir is the function of CountDir. While it waits for its nested tasks, they use its CPU.
func countDir(ctx context.Context, dir Dir) (Tree, error) {
	b, err := submitBelow(ctx, dir)
	if err != nil {
		return Tree{}, err
	}
	all, err := b.sum(ctx)
	all.Tasks++
	return all, err
}
