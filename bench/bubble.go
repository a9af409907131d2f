package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"
)

// bubbleRow measures the real time that an empty test takes on a cluster in virtual time (a bubble of testing/synctest).
// The test measures it itself, since the clock of its bubble is virtual.
func bubbleRow() row {
	return row{
		name: "virtual time", about: "enginetest.Run of an empty test",
		open: func(ctx context.Context, _ scale) (*trial, error) {
			home, err := os.MkdirTemp("", "bench-")
			if err != nil {
				return nil, err
			}
			tidy := func() error { return os.RemoveAll(home) }
			program := filepath.Join(home, "enginetest.test")
			build := exec.CommandContext(ctx, "go", "test", "-c", "-o", program, "github.com/tidemill/tidemill/engine/enginetest")
			if out, err := build.CombinedOutput(); err != nil {
				_ = tidy()
				return nil, fmt.Errorf("build the tests of enginetest: %w\n%s", err, out)
			}
			return &trial{
				sides: []side{{"tidemill", func(ctx context.Context) (sample, error) { return emptyRun(ctx, program) }}},
				close: tidy,
			}, nil
		},
		figures: []figure{
			{"real time", seconds, reading{0, elapsed}, reading{}, "", atMost(0.100)},
		},
	}
}

var tookReal = regexp.MustCompile(`took (\S+) of real time`)

func emptyRun(ctx context.Context, program string) (sample, error) {
	out, err := exec.CommandContext(ctx, program, "-test.run=^TestRunOfNothing$", "-test.v").CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	match := tookReal.FindSubmatch(out)
	if match == nil {
		return nil, fmt.Errorf("the output of %s does not have the real time that the test took:\n%s", program, out)
	}
	took, err := time.ParseDuration(string(match[1]))
	return sample{elapsed: took.Seconds()}, err
}
