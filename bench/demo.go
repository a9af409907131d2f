package main

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"sync"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
)

// demoRow measures real work: the job of examples/srcstats as tasks, by a pool of goroutines, and in a loop.
func demoRow() row {
	return row{
		name: "demo", about: "parse Go files, sum them by directory, as srcstats does",
		open: func(ctx context.Context, sc scale) (*trial, error) {
			files, err := goFiles(ctx, sc.demoDirs)
			if err != nil {
				return nil, err
			}
			return inCluster(ctx, tidemill.Config{}, func(c *tidemill.Cluster) []side {
				return job{files}.sides(c)
			})
		},
		figures: []figure{
			{"files", perSecond, reading{0, rate}, reading{1, rate}, "goroutines, one a core", ratioAtLeast(0.9)},
			{"files", perSecond, reading{0, rate}, reading{2, rate}, "a plain loop", goal{}},
			{"CPU a file", seconds, reading{0, cpu}, reading{1, cpu}, "goroutines, one a core", goal{}},
		},
	}
}

// A job has the files to parse.
type job struct{ files []string }

func (j job) sides(c *tidemill.Cluster) []side {
	var total Source // from the first round of the first side; all other rounds have to return the same
	timed := func(count func(context.Context) (Source, error)) func(context.Context) (sample, error) {
		return func(ctx context.Context) (sample, error) {
			m := startMeter()
			sum, err := count(ctx)
			measured := m.stop(len(j.files))
			switch {
			case err != nil:
				return nil, err
			case total == Source{}:
				total = sum
			case sum != total:
				return nil, fmt.Errorf("the sums are %+v, want %+v as in the first round", sum, total)
			}
			return measured, nil
		}
	}
	return []side{
		{"tidemill", timed(func(ctx context.Context) (Source, error) { return j.asTasks(c.Context(ctx)) })},
		{"goroutines", timed(j.inPool)},
		{"loop", timed(j.asLoop)},
	}
}

// asTasks runs a task for each file, and one for each directory as soon as all of its files have been parsed.
func (j job) asTasks(ctx context.Context) (Source, error) {
	dirs := newDirs(j.files)
	var sums []engine.Ref[Source]
	for i, ref := range engine.MapKeyed(ctx, ParseFile, slices.All(j.files)) {
		part, err := ref.Get(ctx)
		if err != nil {
			return Source{}, err
		}
		if parts, complete := dirs.add(j.files[i], part); complete {
			sums = append(sums, SumDir.Submit(ctx, parts))
		}
	}
	all, err := engine.GetAll(ctx, sums)
	return sumDir(all), err
}

// inPool parses files in one goroutine per core, and sums the results as they arrive.
func (j job) inPool(context.Context) (Source, error) {
	type result struct {
		file string
		part Source
		err  error
	}
	files, results := make(chan string), make(chan result)
	var pool sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		pool.Go(func() {
			for file := range files {
				part, err := parseFile(file)
				results <- result{file, part, err}
			}
		})
	}
	go func() {
		for _, file := range j.files {
			files <- file
		}
		close(files)
		pool.Wait()
		close(results)
	}()
	dirs := newDirs(j.files)
	var total Source
	var first error
	for r := range results {
		if r.err != nil && first == nil {
			first = r.err
		}
		if parts, complete := dirs.add(r.file, r.part); complete {
			total.add(sumDir(parts))
		}
	}
	return total, first
}

// asLoop parses one file after another.
func (j job) asLoop(context.Context) (Source, error) {
	dirs := newDirs(j.files)
	var total Source
	for _, file := range j.files {
		part, err := parseFile(file)
		if err != nil {
			return Source{}, err
		}
		if parts, complete := dirs.add(file, part); complete {
			total.add(sumDir(parts))
		}
	}
	return total, nil
}

// dirs collects the results of files by directory.
type dirs struct {
	size  map[string]int      // number of files by directory
	parts map[string][]Source // results so far by directory
}

func newDirs(files []string) *dirs {
	d := &dirs{size: map[string]int{}, parts: map[string][]Source{}}
	for _, file := range files {
		d.size[filepath.Dir(file)]++
	}
	return d
}

// add adds the result of a file. It returns all results of the directory, which is complete with the last of them.
func (d *dirs) add(file string, part Source) (parts []Source, complete bool) {
	dir := filepath.Dir(file)
	d.parts[dir] = append(d.parts[dir], part)
	return d.parts[dir], len(d.parts[dir]) == d.size[dir]
}
