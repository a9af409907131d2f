package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
)

// ray has the rows that compare with Ray. Each row starts a Ray cluster for all of its rounds, so that no row affects the
// next one. (While our side is measured, an idle Ray runs as well, and uses the CPU time that the row "ray: idle"
// reports.)
type ray struct {
	command []string // runs ray/side.py, or in tests a fake of it
}

// raySide is the program of Ray's side, relative to the folder bench.
const raySide = "ray/side.py"

func rayBy(python string) ray {
	return ray{[]string{python, raySide, strconv.Itoa(runtime.GOMAXPROCS(0))}}
}

// besideRay returns the rows that compare with the Ray of this Python. A round of Ray takes seconds, so there are fewer.
func besideRay(python string) suite {
	s := suite{
		rows: rayBy(python).rows(), full: full, quick: quickScale, json: "ray.json",
		peer: func(ctx context.Context) (string, error) { return rayVersions(ctx, python) },
	}
	s.full.rounds, s.quick.rounds, s.quick.limit = 7, 3, full.limit
	return s
}

// rows returns the rows that follow Ray's own benchmarks, in work and name. Those with actors and generators are missing,
// which Tidemill does not have yet.
func (r ray) rows() []row {
	return []row{
		r.syncRow(), r.asyncRow(), r.clientsRow(), r.grainRow(), r.nestedRow(), r.firstNestedRow(), r.treeRow(), r.waitRow(),
		r.argumentsRow(), r.inObjectRow(), r.returnsRow(), r.getsRow(), r.smallRow(), r.largeRow(), r.largeArgumentRow(),
		r.startRow(), r.idleRow(),
	}
}

// rayVersions returns the installed versions, or an error if Ray cannot be used.
func rayVersions(ctx context.Context, python string) (string, error) {
	out, err := exec.CommandContext(ctx, python, raySide, "versions").Output()
	if err != nil {
		var stderr tail
		if exit := new(exec.ExitError); errors.As(err, &exit) {
			_, _ = stderr.Write(exit.Stderr) // which never fails
		}
		return "", fmt.Errorf("-ray %s: %w: install Ray by `make bench-ray`%s", python, err, stderr.text())
	}
	return strings.TrimSpace(string(out)) + "; Ray keeps tasks in memory and stores nothing", nil
}

// An opener opens a row, as its field open.
type opener func(ctx context.Context, sc scale) (*trial, error)

// beside returns an opener of our sides and of Ray, whose rounds are the sides after ours.
func (r ray) beside(ours opener, rounds ...request) opener {
	return func(ctx context.Context, sc scale) (*trial, error) {
		t, err := ours(ctx, sc)
		if err != nil {
			return nil, err
		}
		p, err := startPeer(ctx, r.command)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("ray: %w", err), t.close())
		}
		for _, round := range rounds {
			t.sides = append(t.sides, side{"ray", func(ctx context.Context) (sample, error) { return p.round(ctx, round) }})
		}
		both := *t
		both.close = func() error { return errors.Join(p.end(), t.close()) }
		return &both, nil
	}
}

// repeated returns a round that does work a number of times, each of which has a number of tasks. Its sample is per task;
// only elapsed is per call of work.
func repeated(times, tasks int, work func(ctx context.Context) error) func(ctx context.Context) (sample, error) {
	return func(ctx context.Context) (sample, error) {
		m := startMeter()
		for range times {
			if err := work(ctx); err != nil {
				return nil, err
			}
		}
		s := m.stop(times * tasks)
		s[elapsed] /= float64(times)
		return s, nil
	}
}
