package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// The sum does not depend on the order or the grouping of the files.
func TestAddingIsAssociativeAndCommutative(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 0))
		files := randomFiles(random)
		var want Stats
		for _, file := range files {
			want.Add(file)
		}
		got := addInGroups(random, files)
		if diff := gocmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("seed %d (-in order +in groups):\n%s", seed, diff)
		}
	}
}

// addInGroups shuffles the parts and replaces random runs of them by their sums until one is left.
func addInGroups(random *rand.Rand, parts []Stats) Stats {
	parts = slices.Clone(parts)
	random.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
	for len(parts) > 1 {
		from := random.IntN(len(parts))
		to := from + random.IntN(len(parts)-from) + 1
		var sum Stats
		for _, part := range parts[from:to] {
			sum.Add(part)
		}
		parts = slices.Replace(parts, from, to, sum)
	}
	return parts[0]
}

// randomFiles returns the Stats of 1 to 30 files. The figures are small, so that many functions have the same length.
func randomFiles(random *rand.Rand) []Stats {
	files := make([]Stats, 1+random.IntN(30))
	for i := range files {
		s, path := &files[i], fmt.Sprintf("f%d.go", i)
		*s = Stats{Files: 1, Bytes: random.Int64N(100), Code: random.IntN(9), Comment: random.IntN(9), Blank: random.IntN(9)}
		if random.IntN(5) == 0 {
			s.Unparsed = []Unparsed{{path, "no"}}
			continue
		}
		s.Lines = s.Code + s.Comment + s.Blank
		s.Funcs, s.Tests, s.Imports = random.IntN(20), random.IntN(5), map[string]int{}
		for line := range s.Funcs {
			s.Longest = append(s.Longest, Func{fmt.Sprint("f", random.IntN(3)), path, line/2 + 1, random.IntN(4)})
		}
		s.Longest = longest(s.Longest)
		for range random.IntN(4) {
			s.Imports[fmt.Sprint("p", random.IntN(5))] = 1
		}
	}
	return files
}

func TestAddDoesNotChangeItsArgument(t *testing.T) {
	newOther := func() Stats {
		return Stats{
			Longest:  []Func{{"f", "b.go", 1, 5}},
			Imports:  map[string]int{"fmt": 1},
			Unparsed: []Unparsed{{"c.go", "no"}},
		}
	}
	other := newOther()
	var sum Stats
	sum.Add(other)
	sum.Add(Stats{
		Longest:  []Func{{"g", "a.go", 1, 6}},
		Imports:  map[string]int{"fmt": 1},
		Unparsed: []Unparsed{{"a.go", "no"}},
	})
	if diff := gocmp.Diff(newOther(), other); diff != "" {
		t.Errorf("the argument of Add (-before +after):\n%s", diff)
	}
}

func TestLongestOrder(t *testing.T) {
	want := []Func{
		{"z", "z.go", 9, 3}, // length
		{"z", "a.go", 9, 2}, // then file
		{"z", "b.go", 1, 2}, // then line
		{"a", "b.go", 2, 2}, // then name
		{"b", "b.go", 2, 2},
	}
	got := slices.Clone(want)
	slices.Reverse(got)
	if diff := gocmp.Diff(want, longest(got)); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

func TestSumDirIsOneDirectory(t *testing.T) {
	files := []Stats{{Files: 1, Lines: 3, Code: 3}, {Files: 1, Lines: 4, Code: 4}, {Files: 1, Lines: 5, Code: 5}}
	head, _ := sumDir(t.Context(), files[:2])
	tail, _ := sumDir(t.Context(), files[2:])
	for name, parts := range map[string][]Stats{"files": files, "pieces": {head, tail}} {
		sum, err := sumDir(t.Context(), parts)
		if want := (Stats{Files: 3, Dirs: 1, Lines: 12, Code: 12}); err != nil || !gocmp.Equal(sum, want) {
			t.Errorf("sum of %s: got %+v, error %v; want %+v", name, sum, err, want)
		}
	}
}
