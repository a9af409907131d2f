package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"path/filepath"
	"regexp"
	"strings"
)

// settings are what the command line asks for.
type settings struct {
	scale    scale
	rows     []row
	json     string // file
	profiles profiles
	peer     func(ctx context.Context) (string, error) // looks for the other system, and says what it is
}

var errHelp = errors.New("help was asked for")

const usage = `Bench measures Tidemill against plain loops over the same NATS server, and against Go itself:
ratios, taken in one run, the sides in turn, medians of the rounds. With -ray it runs other rows, against Ray.

usage: go run . [flags]

`

// A suite is what one run can measure, and how by default.
type suite struct {
	rows        []row
	full, quick scale
	json        string                                    // file, in results
	peer        func(ctx context.Context) (string, error) // as in settings
}

// plainly measures beside nothing but what this program has in itself.
func plainly() suite {
	return suite{
		rows: rows(), full: full, quick: quickly, json: "latest.json",
		peer: func(context.Context) (string, error) { return "", nil },
	}
}

// parseSettings reads the command line. What is wrong with it, and the help, go to w.
func parseSettings(args []string, w io.Writer) (settings, error) {
	set := flag.NewFlagSet("bench", flag.ContinueOnError)
	set.SetOutput(w)
	quick := set.Bool("quick", false, "a run of under a minute (with -ray, of some minutes), with smaller numbers or fewer rounds: to see that all works")
	run := set.String("run", "", "only the rows that match this `regexp`")
	rounds := set.Int("rounds", 0, fmt.Sprintf("how many `rounds` to take the median of, after a warm-up (default %d, and %d if quick; with -ray %d and %d)",
		full.rounds, quickly.rounds, besideRay("").full.rounds, besideRay("").quick.rounds))
	json := set.String("json", "", "write the figures to this `file` (default results/latest.json, with -ray results/ray.json)")
	python := set.String("ray", "", "measure beside Ray, which this `python` has: other rows; see `make bench-ray`")
	cpu := set.String("cpuprofile", "", "write a CPU profile of one row to this `file`; our side alone is run then")
	mem := set.String("memprofile", "", "write a profile of all allocations of one row to this `file`; our side alone is run then")
	traced := set.String("trace", "", "write an execution trace of one row to this `file`, for go tool trace; our side alone is run then")
	set.Usage = func() {
		plain := log.New(w, "", 0)
		plain.Print(usage)
		set.PrintDefaults()
		plain.Print("\nrows:\n", listRows(rows()), "\nrows with -ray:\n", listRows(besideRay("").rows))
	}
	if err := set.Parse(args); errors.Is(err, flag.ErrHelp) {
		return settings{}, errHelp
	} else if err != nil {
		return settings{}, errors.New("run with -h for help")
	}
	if set.NArg() > 0 {
		return settings{}, fmt.Errorf("what is %q? flags are all there is; run with -h for help", set.Arg(0))
	}
	if *rounds < 0 {
		return settings{}, fmt.Errorf("-rounds %d: want 1 or more", *rounds)
	}
	suite := plainly()
	if *python != "" {
		suite = besideRay(*python)
	}
	s := settings{
		scale: suite.full, json: cmp.Or(*json, filepath.Join("results", suite.json)), profiles: profiles{*cpu, *mem, *traced},
		peer: suite.peer,
	}
	if *quick {
		s.scale = suite.quick
	}
	s.scale.rounds = cmp.Or(*rounds, s.scale.rounds)
	var err error
	s.rows, err = choose(suite.rows, *run)
	if err == nil && s.profiles != (profiles{}) && len(s.rows) != 1 {
		err = fmt.Errorf("a profile is of one row, and -run %q names %d of them", *run, len(s.rows))
	}
	return s, err
}

// choose returns the rows whose names match.
func choose(all []row, pattern string) ([]row, error) {
	match, err := regexp.Compile(pattern)
	if err != nil {
		return nil, fmt.Errorf("-run: %w", err)
	}
	var chosen []row
	for _, r := range all {
		if match.MatchString(r.name) {
			chosen = append(chosen, r)
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("-run %q: no such row; there are\n%s", pattern, listRows(all))
	}
	return chosen, nil
}

func listRows(rows []row) string {
	var list strings.Builder
	for _, r := range rows {
		fmt.Fprintf(&list, "  %-19s  %s\n", r.name, r.about)
	}
	return list.String()
}
