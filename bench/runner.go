package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"time"
)

// A runner takes the rounds of rows in this process, the sides in turn.
type runner struct {
	scale    scale
	alone    bool // runs our side only, for profiles
	profiles profiles
	notes    *log.Logger // progress
	stacks   string      // file for the stacks of all goroutines if a row hangs
}

// grace is how long a row may take to return after its context has ended.
const grace = 15 * time.Second

// run measures a row. If that fails, the verdict of each line is failed.
func (r *runner) run(ctx context.Context, w row) ([]Line, error) {
	start := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, r.scale.limit, fmt.Errorf("not finished within the limit of %v", r.scale.limit))
	defer cancel()
	watchdog := time.AfterFunc(r.scale.limit+grace, func() {
		_ = r.dumpStacks()
		r.notes.Printf("bench: %s hangs and ignores its context; the stacks of all goroutines are in %s", w.name, r.stacks)
		os.Exit(1)
	})
	defer watchdog.Stop()
	rounds, err := r.trial(ctx, w)
	if err != nil {
		r.notes.Printf("%-19s failed: %v", w.name, err)
		return failedLines(w), err
	}
	var lines []Line
	for _, f := range w.figures {
		lines = append(lines, newLine(w.name, f, rounds))
	}
	r.notes.Printf("%-19s %d rounds, %.1f s", w.name, len(rounds), time.Since(start).Seconds())
	return lines, nil
}

func failedLines(w row) []Line {
	var lines []Line
	for _, f := range w.figures {
		lines = append(lines, Line{
			Row: w.name, Figure: f.name, Unit: f.unit, Against: f.against,
			Target: f.goal.text(f.unit), Verdict: failed,
		})
	}
	return lines
}

// trial opens the row, takes its rounds and closes it.
func (r *runner) trial(ctx context.Context, w row) (rounds [][]sample, err error) {
	t, err := w.open(ctx, r.scale)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	sides := t.sides
	if r.alone {
		sides = sides[:1]
	}
	if w.once {
		return r.rounds(ctx, sides, 1)
	}
	if _, err := r.rounds(ctx, sides, 1); err != nil { // the warm-up
		return nil, err
	}
	return r.rounds(ctx, sides, r.scale.rounds*max(w.times, 1))
}

// rounds takes n rounds. Profiles are written again by each call, so the rounds replace the warm-up in them.
func (r *runner) rounds(ctx context.Context, sides []side, n int) (rounds [][]sample, err error) {
	stop, err := r.profiles.start()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	for i := range n {
		samples, err := r.round(ctx, sides)
		if err != nil {
			return nil, fmt.Errorf("round %d: %w", i+1, err)
		}
		rounds = append(rounds, samples)
	}
	return rounds, nil
}

// round measures each side once. It runs the garbage collector before each side, which would otherwise pay for the
// garbage of the side before.
func (r *runner) round(ctx context.Context, sides []side) ([]sample, error) {
	var samples []sample
	for _, s := range sides {
		runtime.GC()
		measured, err := s.round(ctx)
		if err != nil {
			if ctx.Err() != nil {
				err = errors.Join(context.Cause(ctx), err, r.dumpStacks())
			}
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		samples = append(samples, measured)
	}
	return samples, nil
}

// dumpStacks writes the stacks of all goroutines to r.stacks.
func (r *runner) dumpStacks() error {
	if err := os.MkdirAll(filepath.Dir(r.stacks), 0o777); err != nil {
		return err
	}
	file, err := os.Create(r.stacks)
	if err != nil {
		return err
	}
	return errors.Join(pprof.Lookup("goroutine").WriteTo(file, 1), file.Close())
}
