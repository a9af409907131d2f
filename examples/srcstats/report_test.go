package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

var rewrite = flag.Bool("rewrite", false, "write the results of tests to testdata instead of comparing with it")

// golden compares got with a file below testdata. After -rewrite, check the changes of the files.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.WriteFile(file, got, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// The report of a small tree, whose figures can be checked by hand.
func TestReportOfATree(t *testing.T) {
	stats, err := plainLoop(t.Context(), "testdata/tree")
	if err != nil {
		t.Fatal(err)
	}
	goldenReport(t, "tree", newReport("testdata/tree", stats, work{tasks: 9}, 4500*time.Millisecond))
}

func TestReportOfAnEmptyTree(t *testing.T) {
	stats, err := plainLoop(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	goldenReport(t, "empty", newReport("/empty", stats, work{}, 0))
}

// The report of a large tree: it shows ten of each list, and separators of thousands.
func TestReportOfALargeTree(t *testing.T) {
	stats := Stats{
		Files: 7711, Dirs: 1065, Bytes: 90_363_980, Lines: 2_850_074, Code: 2_233_065,
		Comment: 390_559, Blank: 226_450, Funcs: 88_332, Tests: 999, Imports: map[string]int{},
	}
	for i := range 12 {
		stats.Longest = append(stats.Longest, Func{fmt.Sprintf("T%d.M", 1<<i), "a/b.go", 10 * i, 6403 - i})
		stats.Imports[fmt.Sprintf("path/%02d", i)] = 1000 + i/2
		stats.Unparsed = append(stats.Unparsed, Unparsed{"c.go", fmt.Sprintf("c.go:%d:1: expected ';'", i)})
	}
	stats.Longest = longest(stats.Longest)
	goldenReport(t, "large", newReport("/usr/local/go/src", stats, work{tasks: 8776}, 2*time.Second))
}

func goldenReport(t *testing.T, name string, report Report) {
	t.Helper()
	var text bytes.Buffer
	if err := report.print(&text); err != nil {
		t.Fatal(err)
	}
	golden(t, name+".report", text.Bytes())

	file := filepath.Join(t.TempDir(), "report.json")
	if err := report.save(file); err != nil {
		t.Fatal(err)
	}
	json, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, name+".json", json)
}

func TestCount(t *testing.T) {
	for n, want := range map[int]string{
		0: "0", 7: "7", 999: "999", 1000: "1,000", 12345: "12,345", 100200: "100,200", 1234567890: "1,234,567,890",
	} {
		if got := count(n); got != want {
			t.Errorf("%d: got %s, want %s", n, got, want)
		}
	}
}
