package main

import (
	"context"
	"errors"
	"time"
)

// settleTime is how long a process runs before it counts as idle.
const settleTime = time.Second

// idleRow measures the memory and CPU time of an idle process. Several processes are idle at the same time, which hardly
// affects them, and their medians are reported.
func idleRow() row {
	return row{
		name: "idle", about: "processes that sit idle after their first result", once: true,
		open: func(_ context.Context, sc scale) (*trial, error) {
			return &trial{
				sides: []side{
					{"tidemill", func(ctx context.Context) (sample, error) { return measureIdle(ctx, sc, startChild(tinyProgram)) }},
					{"bare", func(ctx context.Context) (sample, error) { return measureIdle(ctx, sc, startChild(bareProgram)) }},
				},
				close: func() error { return nil },
			}, nil
		},
		figures: []figure{
			{"RSS", ofBytes, reading{0, rss}, reading{1, rss}, "a process that prints a line", atMost(40e6)},
			{"anonymous RSS", ofBytes, reading{0, rssAnon}, reading{1, rssAnon}, "a process that prints a line", goal{}},
			{"CPU, of a core", percent, reading{0, share}, reading{}, "", atMost(0.005)},
		},
	}
}

// An idler is an idle process, with its descendants.
type idler interface {
	pid() int
	end() error
}

// startChild returns a function that starts this program as a child in a role.
func startChild(role string) func(ctx context.Context) (idler, error) {
	return func(ctx context.Context) (idler, error) {
		p, err := startProcess(ctx, role)
		if err != nil { // return nil, not an idler with a nil *process
			return nil, err
		}
		return p, nil
	}
}

// measureIdle starts sc.idlers processes, reads their usage twice, sc.idle apart, and returns the medians over them.
func measureIdle(ctx context.Context, sc scale, start func(ctx context.Context) (idler, error)) (middle sample, err error) {
	var idlers []idler
	defer func() {
		for _, p := range idlers {
			err = errors.Join(err, p.end())
		}
	}()
	for range sc.idlers {
		p, err := start(ctx)
		if err != nil {
			return nil, err
		}
		idlers = append(idlers, p)
	}
	if err := pause(ctx, settleTime); err != nil {
		return nil, err
	}
	before, err := usageOfAll(idlers)
	if err != nil {
		return nil, err
	}
	if err := pause(ctx, sc.idle); err != nil {
		return nil, err
	}
	after, err := usageOfAll(idlers)
	if err != nil {
		return nil, err
	}
	var samples []sample
	for i := range idlers {
		samples = append(samples, after[i].since(before[i]))
	}
	return medians(samples), nil
}

// A usage is the memory and CPU time of a process, or of a tree of processes, at one moment.
type usage struct {
	at      time.Time
	cpu     time.Duration // since the start of the process
	rss     int64         // resident set size in bytes
	rssAnon int64         // anonymous part of rss in bytes
}

func usageOfAll(idlers []idler) ([]usage, error) {
	var all []usage
	for _, p := range idlers {
		u, err := usageOfTree(p.pid())
		if err != nil {
			return nil, err
		}
		all = append(all, u)
	}
	return all, nil
}

// since returns the share of a core that was used since the former moment, and the memory at this one.
func (u usage) since(former usage) sample {
	return sample{
		share:   (u.cpu - former.cpu).Seconds() / u.at.Sub(former.at).Seconds(),
		rss:     float64(u.rss),
		rssAnon: float64(u.rssAnon),
	}
}

// pause waits for d. It returns early, with an error, when ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
