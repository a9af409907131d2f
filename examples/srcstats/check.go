package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"
)

// checkReport counts the tree again in a plain loop and compares the figures. It writes to w how long both took and every
// figure that differs. It returns an error if any does.
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
	t.row(fmt.Sprintf("%.2f", report.Seconds), "seconds by tasks")
	t.row(fmt.Sprintf("%.2f", seconds), fmt.Sprintf(
		"seconds in a plain loop, %.2f times as long", seconds/max(report.Seconds, 1e-9)))
	t.row(count(len(differing)), "figures that differ")
	for _, line := range differing {
		t.row("", line)
	}
	if err := t.writeTo(w); err != nil {
		return err
	}
	if len(differing) > 0 {
		return fmt.Errorf("-check: %d figures of the tasks and of the plain loop differ", len(differing))
	}
	return nil
}

// plainLoop counts the tree one file after the other, without tasks.
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

// differences returns a line for each figure that differs.
func differences(tasks, plain Stats) []string {
	a, b := figures(tasks), figures(plain)
	all := maps.Clone(a)
	maps.Copy(all, b)
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if a[name] != b[name] {
			lines = append(lines, fmt.Sprintf("%s: %s by tasks, %s in a plain loop",
				name, orNone(a[name]), orNone(b[name])))
		}
	}
	return lines
}

// figures returns everything in s as text, by name.
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
