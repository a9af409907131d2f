package main

import (
	"cmp"
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
}

var errHelp = errors.New("help was asked for")

const usage = `Bench measures Tidemill against plain loops over the same NATS server, and against Go itself:
ratios, taken in one run, the sides in turn, medians of the rounds.

usage: go run . [flags]

`

// parseSettings reads the command line. What is wrong with it, and the help, go to w.
func parseSettings(args []string, w io.Writer) (settings, error) {
	set := flag.NewFlagSet("bench", flag.ContinueOnError)
	set.SetOutput(w)
	quick := set.Bool("quick", false, "a run of under a minute, with smaller numbers: to see that all works")
	run := set.String("run", "", "only the rows that match this `regexp`")
	rounds := set.Int("rounds", 0, fmt.Sprintf("how many `rounds` to take the median of, after a warm-up (default %d, and %d if quick)",
		full.rounds, quickly.rounds))
	json := set.String("json", filepath.Join("results", "latest.json"), "write the figures to this `file`")
	cpu := set.String("cpuprofile", "", "write a CPU profile of one row to this `file`; our side alone is run then")
	mem := set.String("memprofile", "", "write a profile of all allocations of one row to this `file`; our side alone is run then")
	set.Usage = func() {
		plain := log.New(w, "", 0)
		plain.Print(usage)
		set.PrintDefaults()
		plain.Print("\nrows:\n", listRows(rows()))
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
	s := settings{scale: full, json: *json, profiles: profiles{*cpu, *mem}}
	if *quick {
		s.scale = quickly
	}
	s.scale.rounds = cmp.Or(*rounds, s.scale.rounds)
	var err error
	s.rows, err = choose(rows(), *run)
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
		fmt.Fprintf(&list, "  %-12s  %s\n", r.name, r.about)
	}
	return list.String()
}
