package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"
)

// checkReport does the whole job again as a plain loop and compares. It writes to w what both took
// and every figure that differs; if any does, it is an error.
func checkReport(ctx context.Context, w io.Writer, report Report) error {
	start := time.Now()
	plain, err := plainLoop(ctx, report.Root)
	if err != nil {
		return fmt.Errorf("-check: %w", err)
	}
	seconds := time.Since(start).Seconds()
	differing := differences(report.Stats, plain)

	var t table
	t.title("\nThe check")
	t.row(fmt.Sprintf("%.2f", report.Seconds), "seconds as tasks")
	t.row(fmt.Sprintf("%.2f", seconds), fmt.Sprintf(
		"seconds as a plain loop, %.2f times as long", seconds/max(report.Seconds, 1e-9)))
	t.row(count(len(differing)), "figures differ")
	for _, line := range differing {
		t.row("", line)
	}
	if err := t.writeTo(w); err != nil {
		return err
	}
	if len(differing) > 0 {
		return errors.New("-check: the tasks and the plain loop do not agree")
	}
	return nil
}

// plainLoop counts the tree one file after the other, without the engine.
func plainLoop(ctx context.Context, root string) (Stats, error) {
	files, err := walk(root)
	if err != nil {
		return Stats{}, err
	}
	progress := newProgress("srcstats, plain loop", len(files), "files")
	defer progress.end()
	var total Stats
	dirs := make(map[string]bool)
	for _, file := range files {
		if ctx.Err() != nil {
			return Stats{}, context.Cause(ctx)
		}
		stats, err := parseFile(ctx, file)
		if err != nil {
			return Stats{}, err
		}
		total.Add(stats)
		dirs[file.dir()] = true
		progress.step()
	}
	total.Dirs = len(dirs)
	return total, nil
}

// differences returns a line for each figure that is not the same in both.
func differences(tasks, plain Stats) []string {
	a, b := figures(tasks), figures(plain)
	all := maps.Clone(a)
	maps.Copy(all, b)
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if a[name] != b[name] {
			lines = append(lines, fmt.Sprintf("%s: %s as tasks, %s as a plain loop",
				name, orNone(a[name]), orNone(b[name])))
		}
	}
	return lines
}

// figures lays out everything in s by name, so that it can be compared and shown piece by piece.
func figures(s Stats) map[string]string {
	f := map[string]string{
		"files":   count(s.Files),
		"dirs":    count(s.Dirs),
		"bytes":   count(s.Bytes),
		"lines":   count(s.Lines),
		"code":    count(s.Code),
		"comment": count(s.Comment),
		"blank":   count(s.Blank),
		"funcs":   count(s.Funcs),
		"tests":   count(s.Tests),
	}
	for i, fn := range s.Longest {
		f[fmt.Sprintf("longest %2d", i+1)] = fmt.Sprintf("%s (%s:%d, %s lines)", fn.Name, fn.File, fn.Line, count(fn.Lines))
	}
	for path, files := range s.Imports {
		f[fmt.Sprintf("imports of %q", path)] = count(files)
	}
	for _, u := range s.Unparsed {
		f[fmt.Sprintf("unparsed %q", u.File)] = u.Error
	}
	return f
}

func orNone(figure string) string {
	if figure == "" {
		return "none"
	}
	return figure
}
