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

// ray measures rows beside Ray. Each row has a Ray of its own, which lives for all of the row's rounds: what one row
// leaves behind, or breaks, is not the next one's. (So a Ray that has nothing to do stands by while ours is measured,
// and takes what the row "ray: idle" tells of a core.)
type ray struct {
	command []string // of ray/side.py, or in tests of what stands in for it
}

// raySide is Ray's side, from this module's folder.
const raySide = "ray/side.py"

func rayBy(python string) ray {
	return ray{[]string{python, raySide, strconv.Itoa(runtime.GOMAXPROCS(0))}}
}

// besideRay measures beside the Ray that this Python has. Rounds of Ray take seconds, so there are fewer of them.
func besideRay(python string) suite {
	s := suite{
		rows: rayBy(python).rows(), full: full, quick: quickly, json: "ray.json",
		peer: func(ctx context.Context) (string, error) { return rayVersions(ctx, python) },
	}
	s.full.rounds, s.quick.rounds, s.quick.limit = 7, 3, full.limit
	return s
}

// rows are those whose shapes and names are Ray's own, as far as we have what they need: actors and generators are
// not there yet.
func (r ray) rows() []row {
	return []row{
		r.syncRow(), r.asyncRow(), r.clientsRow(), r.grainRow(), r.nestedRow(), r.firstNestedRow(), r.treeRow(), r.waitRow(),
		r.argumentsRow(), r.inObjectRow(), r.returnsRow(), r.getsRow(), r.smallRow(), r.largeRow(), r.largeArgumentRow(),
		r.startRow(), r.idleRow(),
	}
}

// rayVersions asks what is installed, before anything is measured.
func rayVersions(ctx context.Context, python string) (string, error) {
	out, err := exec.CommandContext(ctx, python, raySide, "versions").Output()
	if err != nil {
		var words tail
		if exit := new(exec.ExitError); errors.As(err, &exit) {
			_, _ = words.Write(exit.Stderr) // which never fails
		}
		return "", fmt.Errorf("-ray %s: %w: `make bench-ray` installs what is needed%s", python, err, words.text())
	}
	return strings.TrimSpace(string(out)) + "; Ray keeps tasks in memory, nothing stored", nil
}

// opener opens a row.
type opener func(ctx context.Context, sc scale) (*trial, error)

// beside opens ours, and then Ray, whose rounds are further sides.
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

// repeated makes a round of doing work a number of times, of so many tasks each. What it tells is of one task,
// but for the seconds, which are those of one time.
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
