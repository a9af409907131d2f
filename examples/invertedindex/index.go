package main

import (
	"cmp"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/tidemill/tidemill/engine"
)

// Job is the input of an index-files task.
type Job struct {
	First int // index of the first path among all files
	Paths []string
}

// Merge is the input of a merge-range task: a range of words, and all records.
type Merge struct {
	From, To string // From <= word < To; To "" = no upper bound
	All      []engine.Ref[arrow.RecordBatch]
}

// Query is the input of a find-word task: it searches a range for the files with the most occurrences of a word.
type Query struct {
	Part engine.Ref[arrow.RecordBatch]
	Word string
	Top  int
}

// Hit is a file that contains a word.
type Hit struct {
	File  int // index among all files
	Count int // occurrences of the word
}

// goFiles returns the Go files below the root, sorted.
func goFiles(root string) (paths []string, err error) {
	root, err = filepath.Abs(root) // an agent can have another working directory
	if err != nil {
		return nil, err
	}
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && strings.HasSuffix(path, ".go") {
			paths = append(paths, path)
		}
		return err
	})
	return paths, err
}

// posting is one line of an index.
type posting struct {
	word  string
	file  int32
	count int32
}

var schema = arrow.NewSchema([]arrow.Field{
	{Name: "word", Type: arrow.BinaryTypes.String}, {Name: "file", Type: arrow.PrimitiveTypes.Int32}, {Name: "count", Type: arrow.PrimitiveTypes.Int32},
}, nil)

// record returns the postings as an Arrow record.
func record(postings []posting) arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.NewGoAllocator(), schema)
	defer b.Release()
	b.Reserve(len(postings))
	for _, p := range postings {
		b.Field(0).(*array.StringBuilder).Append(p.word)
		b.Field(1).(*array.Int32Builder).Append(p.file)
		b.Field(2).(*array.Int32Builder).Append(p.count)
	}
	return b.NewRecordBatch()
}

// columns are the columns of a record. They share its memory.
type columns struct {
	words         *array.String
	files, counts []int32
}

func columnsOf(r arrow.RecordBatch) columns {
	return columns{r.Column(0).(*array.String), r.Column(1).(*array.Int32).Int32Values(), r.Column(2).(*array.Int32).Int32Values()}
}

// from returns the first row whose word is at least this one.
func (c columns) from(word string) int {
	return sort.Search(c.words.Len(), func(i int) bool { return c.words.Value(i) >= word })
}

// indexFiles is the function of IndexFiles: it counts the words of some files.
func indexFiles(ctx context.Context, job Job) (arrow.RecordBatch, error) {
	var postings []posting
	for i, path := range job.Paths {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		for word, n := range countWords(string(text)) {
			postings = append(postings, posting{word, int32(job.First + i), int32(n)})
		}
	}
	slices.SortFunc(postings, byWord)
	return record(postings), nil
}

func byWord(a, b posting) int {
	return cmp.Or(cmp.Compare(a.word, b.word), cmp.Compare(a.file, b.file))
}

// countWords counts the words of ASCII letters, digits and _ that begin with a letter. It ignores case.
func countWords(text string) map[string]int {
	counts := map[string]int{}
	for _, word := range strings.FieldsFunc(strings.ToLower(text), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_'
	}) {
		if word[0] >= 'a' && word[0] <= 'z' {
			counts[strings.Clone(word)]++
		}
	}
	return counts
}

// mergeRange is the function of MergeRange: it merges the postings of a range of words. It reads the records in place.
func mergeRange(ctx context.Context, m Merge) (arrow.RecordBatch, error) {
	var postings []posting
	for _, ref := range m.All {
		r, err := ref.Get(ctx)
		if err != nil {
			return nil, err
		}
		c := columnsOf(r)
		end := c.words.Len()
		if m.To != "" {
			end = c.from(m.To)
		}
		for i := c.from(m.From); i < end; i++ {
			postings = append(postings, posting{c.words.Value(i), c.files[i], c.counts[i]})
		}
	}
	slices.SortFunc(postings, byWord)
	return record(postings), nil
}

// findWord is the function of FindWord: it returns the files with the most occurrences of the word.
func findWord(ctx context.Context, q Query) ([]Hit, error) {
	r, err := q.Part.Get(ctx)
	if err != nil {
		return nil, err
	}
	c := columnsOf(r)
	var hits []Hit
	for i := c.from(q.Word); i < c.words.Len() && c.words.Value(i) == q.Word; i++ {
		hits = append(hits, Hit{int(c.files[i]), int(c.counts[i])})
	}
	slices.SortFunc(hits, func(a, b Hit) int { return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.File, b.File)) })
	return hits[:min(len(hits), q.Top)], nil
}

// wordRange is a range of words.
type wordRange struct{ from, to string }

func (r wordRange) has(word string) bool { return word >= r.from && (r.to == "" || word < r.to) }

// wordRanges divides the words of Go source into ranges of about the same size.
func wordRanges() (ranges []wordRange) {
	from := "a"
	for _, to := range []string{"b", "d", "f", "i", "m", "o", "q", "s", "t", "u", ""} {
		ranges = append(ranges, wordRange{from, to})
		from = to
	}
	return ranges
}
