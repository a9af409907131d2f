package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// A script is what a bench program reports, in the file script.json of its folder: a row's figures, by round. The script
// of a row that fails is empty.
type script map[string][]map[string]float64

// playScript is a bench program that measures nothing: it knows the flags that each build has, and follows the script of
// the folder it runs in.
func playScript() {
	run, result := flag.String("run", "", ""), flag.String("json", "", "")
	rounds, quick := flag.Int("rounds", 0, ""), flag.Bool("quick", false, "")
	flag.Parse()
	text, err := os.ReadFile("script.json")
	var s script
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil || *rounds != 1 || !*quick {
		panic(fmt.Sprintf("error %v, rounds %d, quick %v", err, *rounds, *quick))
	}
	name := strings.Trim(*run, "^$")
	values, known := s[name]
	round := noteCall(name)
	switch {
	case !known:
		fmt.Fprintf(os.Stderr, "bench: -run %q: no such row; there are many\n", *run)
		os.Exit(2)
	case round >= len(values):
		fmt.Fprintln(os.Stderr, "out of rounds")
		os.Exit(1)
	}
	report := Report{Machine: Machine{Commit: filepath.Base(mustGetwd())}}
	for figure, v := range values[round] {
		report.Lines = append(report.Lines, Line{Row: name, Figure: figure, Ours: v})
	}
	if err := report.save(*result); err != nil {
		panic(err)
	}
}

func mustGetwd() string {
	dir, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	return dir
}

// noteCall appends this folder and the row to the file calls beside the folder, and returns how often that was done
// before.
func noteCall(row string) (before int) {
	name := filepath.Join("..", "calls")
	calls, _ := os.ReadFile(name) // not there before the first call
	call := filepath.Base(mustGetwd()) + ": " + row + "\n"
	if err := os.WriteFile(name, append(calls, call...), 0o666); err != nil {
		panic(err)
	}
	return strings.Count(string(calls), call)
}

// scripted returns a comparison of two builds that follow scripts, and the file that notes their calls.
func scripted(t *testing.T, rounds int, ours, other script) (c *comparison, calls string) {
	t.Helper()
	home := t.TempDir()
	command := commandOf(t, "script")
	builds := map[string]build{}
	for name, s := range map[string]script{"ours": ours, "other": other} {
		folder := filepath.Join(home, name)
		text, err := json.Marshal(s)
		if err == nil {
			err = os.Mkdir(folder, 0o777)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(folder, "script.json"), text, 0o666)
		}
		if err != nil {
			t.Fatal(err)
		}
		builds[name] = build{folder, command}
	}
	sc := quickScale
	sc.rounds = rounds
	return &comparison{
		ours: builds["ours"], other: builds["other"], scale: sc, notes: log.New(io.Discard, "", 0), home: home,
	}, filepath.Join(home, "calls")
}

// tripRow has two figures of our side's p50, and one of its rate.
func tripRow(name string) row {
	return row{name: name, figures: []figure{
		{"p50", seconds, reading{0, p50}, reading{1, p50}, "floor", ratioAtMost(2)},
		{"p50", seconds, reading{0, p50}, reading{}, "", atMost(1)},
		{"rate", perSecond, reading{0, rate}, reading{}, "", goal{}},
	}}
}

func TestComparisonTakesTurns(t *testing.T) {
	c, calls := scripted(t, 2,
		script{"a trip": {{"p50": 2, "rate": 10}, {"p50": 6, "rate": 10}}},
		script{"a trip": {{"p50": 1, "rate": 20}, {"p50": 2, "rate": 40}}})
	lines, err := c.run(t.Context(), tripRow("a trip"))
	want := []Line{
		{Row: "a trip", Figure: "p50", Unit: seconds, Ours: 4, Other: 1.5, Ratio: 2.5, Low: 2, High: 3, Rounds: []Round{{2, 1}, {6, 2}}},
		{Row: "a trip", Figure: "rate", Unit: perSecond, Ours: 10, Other: 30, Ratio: 0.375, Low: 0.25, High: 0.5, Rounds: []Round{{10, 20}, {10, 40}}},
	}
	if err != nil || !reflect.DeepEqual(lines, want) {
		t.Errorf("got %+v and error %v, want %+v", lines, err, want)
	}
	if c.commit != "other" {
		t.Errorf("got commit %q, want %q", c.commit, "other")
	}
	got, err := os.ReadFile(calls)
	if want := strings.Repeat("ours: a trip\nother: a trip\n", 2); err != nil || string(got) != want {
		t.Errorf("got calls\n%s and error %v, want\n%s", got, err, want)
	}
}

func TestComparisonOfRowWithOnce(t *testing.T) {
	rounds := slices.Repeat([]map[string]float64{{"p50": 1, "rate": 1}}, 11)
	c, calls := scripted(t, 11, script{"slow": rounds}, script{"slow": rounds})
	w := tripRow("slow")
	w.once = true
	lines, err := c.run(t.Context(), w)
	if err != nil || len(lines) != 2 || len(lines[0].Rounds) != onceRounds {
		t.Errorf("got %+v and error %v, want %d rounds", lines, err, onceRounds)
	}
	got, err := os.ReadFile(calls)
	if n := strings.Count(string(got), "other: slow"); err != nil || n != onceRounds {
		t.Errorf("got %d calls and error %v, want %d", n, err, onceRounds)
	}
}

// A row that the other checkout does not have says so, a row that fails as well, and the rows after it are run.
func TestComparisonGoesOn(t *testing.T) {
	c, _ := scripted(t, 1,
		script{"new": {{"p50": 1, "rate": 2}}, "broken": {{"p50": 1, "rate": 1}}, "last": {{"p50": 3, "rate": 4}}},
		script{"broken": {}, "last": {{"rate": 4}}})
	lines, err := runRows(t.Context(), []row{tripRow("new"), tripRow("broken"), tripRow("gone"), tripRow("last")}, c.run)
	want := []Line{
		{Row: "new", Figure: "p50", Unit: seconds, Ours: 1, Verdict: onlyHere, Rounds: []Round{{1, 0}}},
		{Row: "new", Figure: "rate", Unit: perSecond, Ours: 2, Verdict: onlyHere, Rounds: []Round{{2, 0}}},
		{Row: "broken", Figure: "p50", Unit: seconds, Verdict: failed},
		{Row: "broken", Figure: "rate", Unit: perSecond, Verdict: failed},
		{Row: "gone", Figure: "p50", Unit: seconds, Verdict: failed},
		{Row: "gone", Figure: "rate", Unit: perSecond, Verdict: failed},
		{Row: "last", Figure: "p50", Unit: seconds, Ours: 3, Verdict: onlyHere, Rounds: []Round{{3, 0}}},
		{Row: "last", Figure: "rate", Unit: perSecond, Ours: 4, Other: 4, Ratio: 1, Low: 1, High: 1, Rounds: []Round{{4, 4}}},
	}
	if !reflect.DeepEqual(lines, want) {
		t.Errorf("got\n%+v, want\n%+v", lines, want)
	}
	for _, text := range []string{"broken: round 1: the other checkout: ", "standard error ends with\nout of rounds", "gone: round 1: this checkout: no such row"} {
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("got error %v, want one with %q", err, text)
		}
	}
}

// A build is driven by the flags and the report of this very program.
func TestComparisonOfThisBuild(t *testing.T) {
	this := build{mustGetwd(), commandOf(t, "bench")}
	c := &comparison{ours: this, other: this, scale: quickScale, notes: log.New(io.Discard, "", 0), home: t.TempDir()}
	c.scale.rounds = 1
	lines, err := c.run(t.Context(), deepRow())
	if err != nil || len(lines) != 2 || lines[0].Ours <= 0 || lines[0].Other <= 0 || lines[0].Ratio <= 0 {
		t.Errorf("got %+v and error %v, want two lines with figures of both", lines, err)
	}
	if _, err := this.round(t.Context(), c.scale, "nix", filepath.Join(c.home, "nix.json")); err != errNoRow { //nolint:errorlint // as it is
		t.Errorf("of a row that it does not have: got error %v, want %v", err, errNoRow)
	}
}

func TestDifference(t *testing.T) {
	faster := Round{20, 10}
	slower := Round{10, 20}
	of := func(u unit, better, worse int) Line {
		rounds := append(slices.Repeat([]Round{faster}, better), slices.Repeat([]Round{slower}, worse)...)
		l := Line{Unit: u, Rounds: rounds, Ratio: 2}
		if worse > better {
			l.Ratio = 0.5
		}
		return l
	}
	alike := of(perSecond, 5, 0)
	alike.Ratio = 1.009
	equal := Line{Unit: count, Rounds: slices.Repeat([]Round{{0, 0}}, 5)}
	fromZero := Line{Unit: count, Rounds: slices.Repeat([]Round{{1, 0}}, 5)}
	for name, c := range map[string]struct {
		line Line
		want string
	}{
		"all rates greater":           {of(perSecond, 5, 0), better},
		"all rates less":              {of(perSecond, 0, 5), worse},
		"all times greater":           {of(seconds, 5, 0), worse},
		"all times less":              {of(seconds, 0, 5), better},
		"rounds that do not agree":    {of(perSecond, 4, 1), ""},
		"ten of eleven":               {of(perSecond, 10, 1), better},
		"nine of eleven":              {of(perSecond, 9, 2), ""},
		"too few rounds":              {of(perSecond, 4, 0), ""},
		"less than 1 % of difference": {alike, ""},
		"all of them zero":            {equal, ""},
		"zero before":                 {fromZero, worse},
		"no rounds":                   {Line{}, ""},
	} {
		if got := c.line.difference(); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestAgreeing(t *testing.T) {
	for n, want := range map[int]int{1: 2, 4: 5, 5: 5, 6: 6, 7: 7, 8: 8, 9: 8, 11: 10, 21: 16, 99: 60} {
		if got := agreeing(n); got != want {
			t.Errorf("of %d rounds: got %d, want %d", n, got, want)
		}
	}
}

// Lines of a comparison are found by the name of the figure, which has to be of one quantity.
func TestFiguresOfOneName(t *testing.T) {
	for _, w := range append(rows(), besideRay("").rows...) {
		seen := map[string]reading{}
		for _, f := range w.figures {
			if former, again := seen[f.name]; again && former != f.ours {
				t.Errorf("row %q: figure %q is of %+v, want %+v as in the line before", w.name, f.name, f.ours, former)
			}
			seen[f.name] = f.ours
		}
	}
}

func TestBenchFolder(t *testing.T) {
	if got, err := benchFolder(".."); err != nil || got != mustGetwd() {
		t.Errorf("got %q and error %v, want %q", got, err, mustGetwd())
	}
	other := checkout(t, "module example.org/bench\n", "")
	for dir, want := range map[string]string{
		"/no/such/folder": "/no/such/folder is not a checkout of Tidemill: open /no/such/folder/bench/go.mod",
		other:             other + " is not a checkout of Tidemill: " + filepath.Join(other, "bench", "go.mod") + " is of another module",
	} {
		if got, err := benchFolder(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %q and error %v, want an error with %q", dir, got, err, want)
		}
	}
}

// checkout makes a folder with a module in bench.
func checkout(t *testing.T, mod, program string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	err := os.Mkdir(filepath.Join(dir, "bench"), 0o777)
	for name, text := range map[string]string{"go.mod": mod, "main.go": program} {
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "bench", name), []byte(text), 0o666)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestNewBuild(t *testing.T) {
	const mod = "module github.com/tidemill/tidemill/bench\n\ngo 1.26.0\n"
	program := filepath.Join(t.TempDir(), "program")
	good, err := benchFolder(checkout(t, mod, "package main\n\nfunc main() {}\n"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := newBuild(t.Context(), good, program)
	if want := (build{good, []string{program}}); err != nil || !reflect.DeepEqual(b, want) {
		t.Errorf("got %+v and error %v, want %+v", b, err, want)
	}
	// It writes no report.
	if r, err := b.round(t.Context(), quickScale, "map", filepath.Join(t.TempDir(), "x.json")); err == nil || !strings.Contains(err.Error(), "the report of") {
		t.Errorf("got %+v and error %v, want an error about the report", r, err)
	}
	bad := filepath.Join(checkout(t, mod, "package main\n\nfunc main() { missing() }\n"), "bench")
	if b, err := newBuild(t.Context(), bad, program); err == nil || !strings.Contains(err.Error(), "undefined: missing") {
		t.Errorf("got %+v and error %v, want one of the compiler", b, err)
	}
}

func TestAgainstTable(t *testing.T) {
	r := sampleReport()
	r.Beside, r.Against, r.Rounds = "", "../before, commit def5678", 11
	trip := figure{name: "p50", unit: seconds, ours: reading{0, p50}, other: reading{1, p50}}
	fast := figure{name: "rate", unit: perSecond, ours: reading{0, rate}, other: reading{1, rate}}
	ours, other := sample{p50: 90e-6, rate: 431_000}, sample{p50: 80e-6, rate: 430_000}
	slower := newLine("round trip", trip, [][]sample{{ours, other}})
	slower.Verdict = worse
	fresh := newLine("new", fast, [][]sample{{ours}})
	fresh.Verdict = onlyHere
	r.Lines = []Line{slower, newLine("round trip", fast, [][]sample{{ours, other}}), fresh}
	r.Lines = append(r.Lines, compareFailed(row{name: "demo", figures: []figure{trip}})...)
	matchGolden(t, r, "against.golden")
}

func TestMarksText(t *testing.T) {
	for rounds, want := range map[int]string{11: "10 of 11 rounds agree", 3: "3 rounds are too few"} {
		if got := marksText(rounds); !strings.Contains(got, want) {
			t.Errorf("of %d rounds: got %q, want it to contain %q", rounds, got, want)
		}
	}
}

func TestInterruptedComparison(t *testing.T) {
	interrupted := errors.New("interrupted by the test")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(interrupted)
	rounds := []map[string]float64{{"p50": 1, "rate": 1}}
	c, _ := scripted(t, 1, script{"a trip": rounds}, script{"a trip": rounds})
	lines, err := c.run(ctx, tripRow("a trip"))
	if err == nil || !strings.Contains(err.Error(), interrupted.Error()) || len(lines) != 2 || lines[0].Verdict != failed {
		t.Errorf("got %+v and error %v, want two failed lines and %q", lines, err, interrupted)
	}
}
