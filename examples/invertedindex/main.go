// Command invertedindex finds the Go files below a directory that contain a word, those with the most occurrences first. It
// shows how tasks pass large data by reference, without moving it through the driver.
//
//	invertedindex [-check] [-files N] [-top N] [ROOT [WORD...]]
//
// ROOT is the current directory, and WORD is "func", if they are not given.
// One kind of task indexes some files: its result is an Arrow record of words, files and counts, sorted by word. Another
// kind merges a range of words of all those records, which it reads without copying them. A third searches the range
// that contains the word. The driver handles only references, and the answers.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
)

// The functions that tasks run.
var (
	IndexFiles = engine.NewFunc("index-files", indexFiles)
	MergeRange = engine.NewFunc("merge-range", mergeRange)
	FindWord   = engine.NewFunc("find-word", findWord)
)

var (
	check = flag.Bool("check", false, "index the files again in a plain loop, without tasks, and fail if a line differs")
	files = flag.Int("files", 200, "let one task index `N` files")
	top   = flag.Int("top", 5, "print the `N` files with the most occurrences of a word")
)

func main() {
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), "Invertedindex finds the Go files below the directory ROOT (default: the current one) that contain a WORD\n(default: func).\n\nusage: invertedindex [flags] [ROOT [WORD...]]\n\n"+
			"The flags -check, -files and -top belong to invertedindex, the others to every Tidemill program:\n\n")
		flag.PrintDefaults()
	}
	tidemill.Main(run)
}

func run(ctx context.Context) error {
	if *files < 1 || *top < 1 {
		return fmt.Errorf("%w: want 1 or more for -files and -top", tidemill.ErrUsage)
	}
	root, words := arguments(flag.Args())
	paths, err := goFiles(root)
	if err != nil {
		return err
	}
	index, err := build(ctx, paths)
	if err != nil {
		return err
	}
	for _, word := range words {
		hits, err := index.find(ctx, word)
		if err != nil {
			return err
		}
		printHits(paths, strings.ToLower(word), hits)
	}
	if *check {
		return checkIndex(ctx, os.Stdout, index, paths)
	}
	return nil
}

// arguments returns the directory and the words to find, with defaults for those that are not given.
func arguments(args []string) (root string, words []string) {
	switch len(args) {
	case 0:
		return ".", []string{defaultWord}
	case 1:
		return args[0], []string{defaultWord}
	}
	return args[0], args[1:]
}

const defaultWord = "func"

// index is an index as the driver has it: references to its ranges, in order.
type index struct {
	ranges []wordRange
	parts  []engine.Ref[arrow.RecordBatch]
}

// build indexes the files. The merge tasks depend on all index tasks: they are dispatched when those have ended, and occupy
// no CPU before.
func build(ctx context.Context, paths []string) (*index, error) {
	var indexed []engine.Ref[arrow.RecordBatch]
	for from := 0; from < len(paths); from += *files {
		indexed = append(indexed, IndexFiles.Submit(ctx, Job{First: from, Paths: paths[from:min(from+*files, len(paths))]}))
	}
	x := &index{ranges: wordRanges()}
	for _, r := range x.ranges {
		x.parts = append(x.parts, MergeRange.Submit(ctx, Merge{From: r.from, To: r.to, All: indexed}))
	}
	_, _, err := engine.Wait(ctx, x.parts, len(x.parts))
	return x, err
}

// find submits a task that searches for the word in its range.
func (x *index) find(ctx context.Context, word string) ([]Hit, error) {
	word = strings.ToLower(word)
	for i, r := range x.ranges {
		if r.has(word) {
			return FindWord.Submit(ctx, Query{Part: x.parts[i], Word: word, Top: *top}).Get(ctx)
		}
	}
	return nil, nil // no indexed word begins with this character
}

func printHits(paths []string, word string, hits []Hit) {
	fmt.Printf("%s\n", word)
	if len(hits) == 0 {
		fmt.Println("        0  files")
	}
	for _, h := range hits {
		fmt.Printf("%9d  %s\n", h.Count, paths[h.File])
	}
}
