// Command srcstats counts the Go source below a directory: files, lines by kind, functions, tests, the
// longest functions and the most imported packages. It is the first example of Tidemill with real
// work in it.
//
//	srcstats [-json FILE] [-check] [-nested | -dir DIR -job JOB] ROOT
//
// With a directory and a name, a run that was killed is gone on with when it is run again: files whose
// results were recorded are not parsed again, unless they have changed.
//
// One task parses a file, one task adds up the files of a directory, and run, the driver, makes the
// report. With -nested, a task for a directory submits those for the files and directories in it: less to write, and
// not for runs to be gone on with, since a job records what its driver submits.
package main

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
)

// The functions that tasks run. Their names are what drivers and agents agree on.
var (
	ParseFile = engine.NewFunc("parse-file", parseFile)
	SumDir    = engine.NewFunc("sum-dir", sumDir)
)

// sumLimit is how many parts one sum-dir task adds up at most: some hundred bytes each, they stay
// well below the few megabytes that a task's input may have.
const sumLimit = 1000

var (
	jsonFile = flag.String("json", "", "write the report to `FILE` too, as JSON")
	check    = flag.Bool("check", false,
		"do the same job again as a plain loop, and fail if a figure differs")
	nested = flag.Bool("nested", false,
		"count each directory by a task that submits one for each file and directory in it; not with -job")
)

func main() {
	flag.Usage = usage
	tidemill.Main(run)
}

func usage() {
	fmt.Fprint(flag.CommandLine.Output(), `Srcstats counts the Go source below the directory ROOT: a task for each file parses it,
a task for each directory adds up its files.

usage: srcstats [flags] ROOT

`)
	flag.PrintDefaults()
}

// run is the driver.
func run(ctx context.Context) error {
	if *nested && inJob() {
		return fmt.Errorf("%w: -nested and -job do not go together: a job records what its driver submits, and no nested tasks", tidemill.ErrUsage)
	}
	root, err := rootArg(flag.Args())
	if err != nil {
		return err
	}
	if *jsonFile != "" {
		// Emptied before the work begins, so that a name that cannot be written costs no time, and
		// what a former run left there is not taken for the outcome of one that failed.
		if err := os.WriteFile(*jsonFile, nil, 0o666); err != nil {
			return fmt.Errorf("-json: %w", err)
		}
	}
	way := countTree
	if *nested {
		way = countNested
	}
	report, err := way(ctx, root)
	if err != nil {
		return err
	}
	if *jsonFile != "" {
		if err := report.save(*jsonFile); err != nil {
			return err
		}
	}
	if err := report.print(os.Stdout); err != nil {
		return err
	}
	if *check {
		return checkReport(ctx, os.Stdout, report)
	}
	return nil
}

// inJob reports whether tidemill.Main was given a job's name.
func inJob() bool {
	job := flag.Lookup("job")
	return job != nil && job.Value.String() != "" || os.Getenv("TIDEMILL_JOB") != ""
}

// rootArg returns the directory that the command line asks for, as an absolute path: an agent has a
// working directory of its own.
func rootArg(args []string) (string, error) {
	switch {
	case len(args) == 0:
		return "", fmt.Errorf("%w: which directory? srcstats wants a ROOT", tidemill.ErrUsage)
	case len(args) > 1:
		return "", fmt.Errorf("%w: one ROOT, please, and flags before it; got %s",
			tidemill.ErrUsage, strings.Join(args, " "))
	}
	info, err := os.Stat(args[0])
	if err != nil {
		return "", fmt.Errorf("ROOT: %w", err)
	}
	if !info.IsDir() {
		return "", fmt.Errorf("ROOT: %s is no directory", args[0])
	}
	return filepath.Abs(args[0])
}

// countTree counts the tree below root by tasks. What is left to add up here is one value for each
// directory.
func countTree(ctx context.Context, root string) (Report, error) {
	start := time.Now()
	files, err := walk(root)
	if err != nil {
		return Report{}, err
	}
	work, err := parseAll(ctx, files)
	if err != nil {
		return Report{}, err
	}
	dirs, err := engine.GetAll(ctx, work.sums)
	if err != nil {
		return Report{}, fmt.Errorf("add up the files of a directory: %w", err)
	}
	var total Stats
	for _, dir := range dirs {
		total.Add(dir)
	}
	return newReport(root, total, work, time.Since(start)), nil
}

// work is what the tasks of a run were.
type work struct {
	sums    []engine.Ref[Stats] // of directories; they may not be there yet
	tasks   int                 // submitted
	resumed int                 // files whose results a former run of the job had recorded
}

// parseAll runs a task for each file and, as soon as all files of a directory are done, submits one
// that adds them up.
func parseAll(ctx context.Context, files []File) (work, error) {
	w := work{tasks: len(files)}
	size := make(map[string]int) // of a directory, in files
	for _, file := range files {
		size[file.dir()]++
	}
	progress := newProgress("srcstats", len(files), "files")
	defer progress.end()

	parts := make(map[string]map[int]Stats) // of a directory, by file, until it is complete
	for i, ref := range engine.MapKeyed(ctx, ParseFile, slices.All(files)) {
		stats, err := ref.Get(ctx)
		if err != nil {
			return w, fmt.Errorf("parse %s: %w", files[i].Path, err)
		}
		progress.step()
		if ref.Resumed() {
			w.resumed++
		}
		dir := files[i].dir()
		if parts[dir] == nil {
			parts[dir] = make(map[int]Stats)
		}
		parts[dir][i] = stats
		if len(parts[dir]) < size[dir] {
			continue
		}
		sum, more, err := addUp(ctx, inOrder(parts[dir]))
		if err != nil {
			return w, fmt.Errorf("add up the files of %s: %w", dir, err)
		}
		w.sums, w.tasks = append(w.sums, sum), w.tasks+more
		delete(parts, dir)
	}
	return w, context.Cause(ctx) // the loop may have ended before its time
}

// inOrder returns the parts in the order of the files, whichever was parsed first: a job that is run again
// makes the same sums of them, and so finds those that it has.
func inOrder(parts map[int]Stats) []Stats {
	all := make([]Stats, 0, len(parts))
	for _, i := range slices.Sorted(maps.Keys(parts)) {
		all = append(all, parts[i])
	}
	return all
}

// addUp submits the sum of a directory's parts, and tells how many tasks that takes. More parts than
// one task may have are added up in pieces first; only then does it wait.
func addUp(ctx context.Context, parts []Stats) (sum engine.Ref[Stats], tasks int, err error) {
	for len(parts) > sumLimit {
		var pieces []engine.Ref[Stats]
		for piece := range slices.Chunk(parts, sumLimit) {
			pieces = append(pieces, SumDir.Submit(ctx, piece))
		}
		tasks += len(pieces)
		if parts, err = engine.GetAll(ctx, pieces); err != nil {
			return sum, tasks, err
		}
	}
	return SumDir.Submit(ctx, parts), tasks + 1, nil
}
