package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// Report is the outcome of a run. Its JSON form is the file of -json.
type Report struct {
	Root string `json:"-"`
	Stats

	// Imports are the ten most imported packages. It hides Stats.Imports, which has all packages.
	Imports []Import `json:"imports"`

	Tasks          int     `json:"tasks"`
	Resumed        int     `json:"resumed"` // files whose result an earlier run had recorded
	Seconds        float64 `json:"seconds"` // from the start of the walk to the last sum
	TasksPerSecond float64 `json:"tasksPerSecond"`
}

// Import is an imported package.
type Import struct {
	Path  string `json:"path"`
	Files int    `json:"files"` // number of files that import it
}

// newReport returns the report of a run.
func newReport(root string, stats Stats, w work, took time.Duration) Report {
	// The JSON has empty lists instead of null.
	stats.Longest = append([]Func{}, stats.Longest...)
	stats.Unparsed = append([]Unparsed{}, stats.Unparsed...)
	return Report{
		Root:           root,
		Stats:          stats,
		Imports:        mostImported(stats.Imports),
		Tasks:          w.tasks,
		Resumed:        w.resumed,
		Seconds:        took.Seconds(),
		TasksPerSecond: float64(w.tasks) / max(took.Seconds(), 1e-9), // avoids a division by 0
	}
}

// mostImported returns the ten paths that the most files import, sorted by the number of files, then by path.
func mostImported(files map[string]int) []Import {
	imports := make([]Import, 0, len(files))
	for path, n := range files {
		imports = append(imports, Import{path, n})
	}
	slices.SortFunc(imports, func(a, b Import) int {
		return cmp.Or(cmp.Compare(b.Files, a.Files), cmp.Compare(a.Path, b.Path))
	})
	return imports[:min(len(imports), 10)]
}

// save writes the report to a file, as JSON.
func (r Report) save(name string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("-json: %w", err)
	}
	if err := os.WriteFile(name, append(text, '\n'), 0o666); err != nil {
		return fmt.Errorf("-json: %w", err)
	}
	return nil
}

// print writes the report as text: a table with the figures on the left.
func (r Report) print(w io.Writer) error {
	var t table
	t.title(r.Root)
	t.row(count(r.Files), "Go files")
	t.row(count(r.Dirs), "directories")
	t.row(count(r.Bytes), "bytes")
	t.row(count(r.Lines), "lines")
	t.row(count(r.Code), "lines of code")
	t.row(count(r.Comment), "lines of comment")
	t.row(count(r.Blank), "blank lines")
	t.row(count(r.Funcs), "functions and methods")
	t.row(count(r.Tests), "tests")
	t.longest(r.Longest)
	t.imports(r.Imports)
	t.unparsed(r.Unparsed)
	t.title("Tasks")
	t.row(count(r.Tasks), "tasks submitted")
	t.row(count(r.Resumed), "files whose results an earlier run had recorded")
	t.row(count(int(r.TasksPerSecond)), "tasks per second")
	t.row(fmt.Sprintf("%.2f", r.Seconds), "seconds")
	return t.writeTo(w)
}

func (t *table) longest(funcs []Func) {
	t.title("The longest functions, in lines")
	width := 0
	for _, f := range funcs {
		width = max(width, utf8.RuneCountInString(f.Name))
	}
	for _, f := range funcs {
		t.row(count(f.Lines), fmt.Sprintf("%-*s  %s:%d", width, f.Name, f.File, f.Line))
	}
}

func (t *table) imports(imports []Import) {
	t.title("The most imported packages, by files")
	for _, i := range imports {
		t.row(count(i.Files), i.Path)
	}
}

func (t *table) unparsed(files []Unparsed) {
	t.title("Files that did not parse")
	t.row(count(len(files)), "in total")
	shown := min(len(files), 10)
	for _, file := range files[:shown] {
		t.row("", file.Error)
	}
	if more := len(files) - shown; more > 0 {
		t.row("", fmt.Sprintf("… and %s more (-json has all of them)", count(more)))
	}
}

// table collects rows of a figure, aligned to the right, and what it counts.
type table struct{ text bytes.Buffer }

func (t *table) title(title string) {
	if t.text.Len() > 0 {
		t.text.WriteByte('\n')
	}
	fmt.Fprintln(&t.text, title)
}

func (t *table) row(figure, what string) {
	fmt.Fprintf(&t.text, "%14s  %s\n", figure, what)
}

func (t *table) writeTo(w io.Writer) error {
	_, err := t.text.WriteTo(w)
	return err
}

// count returns n with a comma between thousands. It must not be negative.
func count[N int | int64](n N) string {
	digits := strconv.FormatInt(int64(n), 10)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
