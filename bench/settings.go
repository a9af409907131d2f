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

// settings are what to measure, and how, with all defaults applied.
type settings struct {
	scale    scale
	rows     []row
	json     string // file for the report
	profiles profiles
	peer     func(ctx context.Context) (string, error) // looks for the other system, and returns its versions
	against  string                                    // folder of the checkout to compare with; empty without -against
}

var errHelp = errors.New("help was printed")

const helpText = `Bench measures Tidemill against plain loops over the same NATS server, and against goroutines. It reports ratios:
the sides take turns in one run, and the medians of the rounds count. With -ray, it runs other rows, against Ray.
With -against, it compares two checkouts of Tidemill instead: it builds the bench program of each, and runs every row
with both in turn, each round in a process of its own. A relative folder is relative to the folder bench.

usage: go run . [flags]

`

// A suite is a set of rows with its defaults.
type suite struct {
	rows        []row
	full, quick scale
	json        string                                    // name of the report file in the folder results
	peer        func(ctx context.Context) (string, error) // as in settings
}

// standalone returns the rows that need no other system.
func standalone() suite {
	return suite{
		rows: rows(), full: full, quick: quickScale, json: "latest.json",
		peer: func(context.Context) (string, error) { return "", nil },
	}
}

// flags are the values of the command line, without defaults applied.
type flags struct {
	quick                   bool
	run, json, ray, against string
	rounds                  int
	profiles                profiles
}

// parseSettings reads the command line. Its errors, and the help, go to w.
func parseSettings(args []string, w io.Writer) (settings, error) {
	var f flags
	set := f.define(w)
	if err := set.Parse(args); errors.Is(err, flag.ErrHelp) {
		return settings{}, errHelp
	} else if err != nil {
		return settings{}, errors.New("run with -h for help")
	}
	if set.NArg() > 0 {
		return settings{}, fmt.Errorf("unexpected argument %q: bench takes flags only; run with -h for help", set.Arg(0))
	}
	if err := f.validate(); err != nil {
		return settings{}, err
	}
	return f.settings()
}

// define returns the set of flags, which writes to f.
func (f *flags) define(w io.Writer) *flag.FlagSet {
	set := flag.NewFlagSet("bench", flag.ContinueOnError)
	set.SetOutput(w)
	set.BoolVar(&f.quick, "quick", false, "smaller numbers and fewer rounds, to check that everything works: under a minute (with -ray or -against, several minutes)")
	set.StringVar(&f.run, "run", "", "run only the rows whose names match this `regexp`")
	set.IntVar(&f.rounds, "rounds", 0, fmt.Sprintf("number of `rounds` after the warm-up, whose median is reported (default %d, with -quick %d; with -ray %d, with -ray -quick %d)",
		full.rounds, quickScale.rounds, besideRay("").full.rounds, besideRay("").quick.rounds))
	set.StringVar(&f.json, "json", "", "write the report as JSON to this `file` (default results/latest.json, with -ray results/ray.json, with -against results/against.json)")
	set.StringVar(&f.ray, "ray", "", "measure rows against the Ray that is installed for this `python`; `make bench-ray` installs it")
	set.StringVar(&f.against, "against", "", "compare with the checkout of Tidemill in this `folder`: run each row with both builds in turn, and mark figures that differ by more than noise")
	set.StringVar(&f.profiles.cpu, "cpuprofile", "", "write a CPU profile of one row to this `file`; only our side is run then")
	set.StringVar(&f.profiles.mem, "memprofile", "", "write a profile of all allocations of one row to this `file`; only our side is run then")
	set.StringVar(&f.profiles.trace, "trace", "", "write an execution trace of one row to this `file`, for go tool trace; only our side is run then")
	set.Usage = func() {
		plain := log.New(w, "", 0)
		plain.Print(helpText)
		set.PrintDefaults()
		plain.Print("\nrows:\n", listRows(rows()), "\nrows with -ray:\n", listRows(besideRay("").rows))
	}
	return set
}

// validate returns an error for every flag that is wrong, and for flags that exclude each other.
func (f *flags) validate() error {
	var errs []error
	if f.rounds < 0 {
		errs = append(errs, fmt.Errorf("-rounds %d: want 1 or more", f.rounds))
	}
	if f.against != "" && f.ray != "" {
		errs = append(errs, errors.New("-against and -ray exclude each other: run bench once for each"))
	}
	if f.against != "" && f.profiles != (profiles{}) {
		errs = append(errs, errors.New("-against excludes profiles: run bench in each checkout with -cpuprofile, -memprofile or -trace"))
	}
	return errors.Join(errs...)
}

// settings applies the defaults and chooses the rows.
func (f *flags) settings() (settings, error) {
	suite := standalone()
	switch {
	case f.ray != "":
		suite = besideRay(f.ray)
	case f.against != "":
		suite.json = "against.json"
	}
	s := settings{
		scale: suite.full, json: cmp.Or(f.json, filepath.Join("results", suite.json)), profiles: f.profiles,
		peer: suite.peer, against: f.against,
	}
	if f.quick {
		s.scale = suite.quick
	}
	s.scale.rounds = cmp.Or(f.rounds, s.scale.rounds)
	var err error
	s.rows, err = choose(suite.rows, f.run)
	if err == nil && s.profiles != (profiles{}) && len(s.rows) != 1 {
		err = fmt.Errorf("-run %q matches %d rows, and a profile is of one row: choose one", f.run, len(s.rows))
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
		return nil, fmt.Errorf("-run %q: %w; there are\n%s", pattern, errNoRow, listRows(all))
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
