// Command invertedindex finds in which Go files below a directory a word stands, most often first. It shows how data
// goes by reference: what tasks make stays where it is, and other tasks refer to it.
//
//	invertedindex [-check] [-files N] [-top N] ROOT WORD...
//
// One task indexes some files: an Arrow record of words, files and counts, sorted by word. One task merges a range of
// words of all those records, which it reads where they lie. A query goes to the range that its word is in. The
// driver sees references, and the answers.
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
	check = flag.Bool("check", false, "index the same files by a plain loop too, and fail if a word differs")
	files = flag.Int("files", 200, "`N` files are indexed by one task")
	top   = flag.Int("top", 5, "print the `N` files that have a word most often")
)

func main() {
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), "Invertedindex finds in which Go files below the directory ROOT words stand.\n\nusage: invertedindex [flags] ROOT WORD...\n\n")
		flag.PrintDefaults()
	}
	tidemill.Main(run)
}

func run(ctx context.Context) error {
	if flag.NArg() < 2 || *files < 1 || *top < 1 {
		return fmt.Errorf("%w: want a ROOT and a WORD, and 1 or more for -files and -top", tidemill.ErrUsage)
	}
	paths, err := goFiles(flag.Arg(0))
	if err != nil {
		return err
	}
	index, err := build(ctx, paths)
	if err != nil {
		return err
	}
	for _, word := range flag.Args()[1:] {
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

// index is what the driver has of an index: references to its ranges, in their order.
type index struct {
	ranges []wordRange
	parts  []engine.Ref[arrow.RecordBatch]
}

// build indexes the files. Ranges are merged when all files are indexed, which no slot waits for.
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

// find asks for a word where it is.
func (x *index) find(ctx context.Context, word string) ([]Hit, error) {
	word = strings.ToLower(word)
	for i, r := range x.ranges {
		if r.has(word) {
			return FindWord.Submit(ctx, Query{Part: x.parts[i], Word: word, Top: *top}).Get(ctx)
		}
	}
	return nil, nil // no word begins like this
}

func printHits(paths []string, word string, hits []Hit) {
	fmt.Printf("%s\n", word)
	if len(hits) == 0 {
		fmt.Println("         in no file")
	}
	for _, h := range hits {
		fmt.Printf("%9d  %s\n", h.Count, paths[h.File])
	}
}
