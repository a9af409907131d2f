// Command bench measures Tidemill against simple alternatives in Go: the floor, which is a plain loop over the same NATS
// server and storage, goroutines, and serial code. Figures are ratios, measured in one run on one machine: the sides
// take turns, and the report has the medians of the rounds. With -ray, it runs other rows, against Ray; with -against,
// it compares the builds of two checkouts.
//
//	bench [-quick] [-run REGEXP] [-rounds N] [-json FILE] [-ray PYTHON | -against FOLDER]
//
// A [row] is one measurement. It opens a [trial] of one or more sides, and its [figure]s are read from the samples of
// the rounds. The [runner] takes the rounds of a row in this process, a [comparison] in processes of two builds; the
// [Report] prints a table and writes it as JSON. Most rows have a file of their own.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

func main() {
	if role := os.Getenv(childVariable); role != "" {
		child(role)
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	os.Exit(command(ctx, os.Args[1:], os.Stdout, log.New(os.Stderr, "", 0)))
}

// command runs the program and returns its exit code: 0 if every row was measured, whether or not it reached its goal;
// 1 if a row failed; 2 if the arguments are wrong.
func command(ctx context.Context, args []string, out io.Writer, notes *log.Logger) int {
	s, err := parseSettings(args, notes.Writer())
	switch {
	case errors.Is(err, errHelp):
		return 0
	case err != nil:
		notes.Println("bench:", err)
		return 2
	}
	measure, err := prepare(ctx, s, notes)
	if err != nil {
		notes.Println("bench:", err)
		return 1
	}
	report, err := measure(ctx)
	err = errors.Join(err, report.print(out), report.save(s.json))
	if err != nil {
		notes.Println("bench:", err)
		return 1
	}
	notes.Println("written to", s.json)
	return 0
}

// prepare checks that the other system is installed, or builds both checkouts, and returns the function that measures.
// If that returns an error, its report has the rows that were measured.
func prepare(ctx context.Context, s settings, notes *log.Logger) (func(ctx context.Context) (Report, error), error) {
	beside, err := s.peer(ctx)
	if err != nil {
		return nil, err
	}
	if s.against != "" {
		c, err := openComparison(ctx, s.against, s.scale, notes)
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context) (Report, error) {
			report, err := measureBoth(ctx, s, c)
			return report, errors.Join(err, c.close())
		}, nil
	}
	return func(ctx context.Context) (Report, error) { return measure(ctx, s, newReport(s.scale, beside), notes) }, nil
}

// measure runs the rows in this process.
func measure(ctx context.Context, s settings, report Report, notes *log.Logger) (Report, error) {
	r := &runner{
		scale: s.scale, alone: s.profiles != profiles{}, profiles: s.profiles, notes: notes,
		stacks: filepath.Join(filepath.Dir(s.json), "stacks.txt"),
	}
	s.profiles.prepare()
	var err error
	report.Lines, err = runRows(ctx, s.rows, r.run)
	report.end()
	return report, err
}

// measureBoth runs the rows with the builds of both checkouts.
func measureBoth(ctx context.Context, s settings, c *comparison) (Report, error) {
	report := newReport(s.scale, "")
	var err error
	report.Lines, err = runRows(ctx, s.rows, c.run)
	report.Against = s.against
	if c.commit != "" {
		report.Against += ", commit " + c.commit
	}
	report.end()
	return report, err
}

// runRows runs each row, and goes on after one that fails.
func runRows(ctx context.Context, rows []row, run func(context.Context, row) ([]Line, error)) ([]Line, error) {
	all := []Line{}
	var errs []error
	for _, row := range rows {
		if ctx.Err() != nil {
			errs = append(errs, errors.New("interrupted"))
			break
		}
		lines, err := run(ctx, row)
		all = append(all, lines...)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", row.name, err))
		}
	}
	return all, errors.Join(errs...)
}
