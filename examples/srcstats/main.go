// Command srcstats counts the Go source below a directory: files, lines by kind, functions, tests, the longest functions
// and the most imported packages.
//
//	srcstats [-json FILE] [-check] [-nested | -dir DIR -job JOB] [ROOT]
//
// ROOT is the current directory if it is not given.
// One task parses a file, one task adds up the files of a directory, and run, the driver, makes the report. With -dir and
// -job, a run that was killed can be resumed: files whose results were recorded are not parsed again, unless they have
// changed.
//
// With -nested, the task of a directory submits the tasks of the files and directories in it. That takes less code, but
// such a run cannot be resumed, since a job records only what its driver submits.
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

// The functions that tasks run. Drivers and agents identify them by their names.
var (
	ParseFile = engine.NewFunc("parse-file", parseFile)
	SumDir    = engine.NewFunc("sum-dir", sumDir)
)

// sumLimit is how many parts one sum-dir task adds up at most. A part has some hundred bytes, so that the input stays
// small.
const sumLimit = 1000

var (
	jsonFile = flag.String("json", "", "also write the report to `FILE`, as JSON")
	check    = flag.Bool("check", false,
		"count again in a plain loop, without tasks, and fail if a figure differs")
	nested = flag.Bool("nested", false,
		"let the task of a directory submit the tasks of what is in it; not together with -job")
)

func main() {
	flag.Usage = usage
	tidemill.Main(run)
}

func usage() {
	fmt.Fprint(flag.CommandLine.Output(), `Srcstats counts the Go source below the directory ROOT, which is the current
directory if it is not given: one task parses each file, one task adds up the files of each directory.

usage: srcstats [flags] [ROOT]

The flags -check, -json and -nested belong to srcstats, the others to every Tidemill program:

`)
	flag.PrintDefaults()
}

// run is the driver.
func run(ctx context.Context) error {
	if *nested && inJob() {
		return fmt.Errorf("%w: -nested and -job cannot be used together: a job does not record nested tasks, so leave one of them out", tidemill.ErrUsage)
	}
	root, err := rootArg(flag.Args())
	if err != nil {
		return err
	}
	if *jsonFile != "" {
		// Truncate the file before the work begins: a path that cannot be written fails at once, and the report of an
		// earlier run is not mistaken for that of a failed one.
		if err := os.WriteFile(*jsonFile, nil, 0o666); err != nil {
			return fmt.Errorf("-json: %w", err)
		}
	}
	countRoot := countTree
	if *nested {
		countRoot = countNested
	}
	report, err := countRoot(ctx, root)
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

// inJob reports whether this is a run of a named job.
func inJob() bool {
	job := flag.Lookup("job")
	return job != nil && job.Value.String() != "" || os.Getenv("TIDEMILL_JOB") != ""
}

// rootArg returns the argument ROOT, or the current directory without one, as an absolute path, since an agent can have
// another working directory.
func rootArg(args []string) (string, error) {
	switch {
	case len(args) == 0:
		return filepath.Abs(".")
	case len(args) > 1:
		return "", fmt.Errorf("%w: want one ROOT, after all flags; got arguments %s",
			tidemill.ErrUsage, strings.Join(args, " "))
	}
	info, err := os.Stat(args[0])
	if err != nil {
		return "", fmt.Errorf("ROOT: %w", err)
	}
	if !info.IsDir() {
		return "", fmt.Errorf("ROOT: %s is not a directory", args[0])
	}
	return filepath.Abs(args[0])
}

// countTree counts the tree below root by tasks, and adds up their results: one for each directory.
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

// work describes the tasks of a run.
type work struct {
	sums    []engine.Ref[Stats] // one for each directory; they may not have ended yet
	tasks   int                 // submitted
	resumed int                 // files whose results an earlier run of the job had recorded
}

// parseAll runs a task for each file. When all files of a directory are parsed, it submits a task that adds them up.
func parseAll(ctx context.Context, files []File) (work, error) {
	w := work{tasks: len(files)}
	size := make(map[string]int) // number of files, by directory
	for _, file := range files {
		size[file.dir()]++
	}
	progress := newProgress("srcstats", len(files), "files")
	defer progress.end()

	parts := make(map[string]map[int]Stats) // of the incomplete directories: results by index of the file
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
	return w, context.Cause(ctx) // MapKeyed ends early if ctx does
}

// inOrder returns the parts in the order of the files, independently of which was parsed first. So the sum-dir tasks have
// the same inputs in each run of a job, and their recorded results are found.
func inOrder(parts map[int]Stats) []Stats {
	all := make([]Stats, 0, len(parts))
	for _, i := range slices.Sorted(maps.Keys(parts)) {
		all = append(all, parts[i])
	}
	return all
}

// addUp submits a task that adds up the parts of a directory, and returns how many tasks it has submitted. If there are
// more than sumLimit parts, it first adds them up in chunks, and waits for the results.
func addUp(ctx context.Context, parts []Stats) (sum engine.Ref[Stats], tasks int, err error) {
	for len(parts) > sumLimit {
		var chunks []engine.Ref[Stats]
		for chunk := range slices.Chunk(parts, sumLimit) {
			chunks = append(chunks, SumDir.Submit(ctx, chunk))
		}
		tasks += len(chunks)
		if parts, err = engine.GetAll(ctx, chunks); err != nil {
			return sum, tasks, err
		}
	}
	return SumDir.Submit(ctx, parts), tasks + 1, nil
}
