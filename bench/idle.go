package main

import (
	"context"
	"errors"
	"time"
)

// settling is how long a process is left alone before it counts as idle.
const settling = time.Second

// idleRow is what a process costs that has nothing to do. Several sit idle at once, which they hardly
// notice, and the medians of them are told.
func idleRow() row {
	return row{
		name: "idle", about: "processes that sit idle after their first result", once: true,
		open: func(_ context.Context, sc scale) (*trial, error) {
			return &trial{
				sides: []side{
					{"tidemill", func(ctx context.Context) (sample, error) { return idlePack(ctx, sc, childIn(tinyProgram)) }},
					{"bare", func(ctx context.Context) (sample, error) { return idlePack(ctx, sc, childIn(bareProgram)) }},
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

// A resident is a process that has nothing to do, with its descendants.
type resident interface {
	pid() int
	end() error
}

// childIn starts a child in a role.
func childIn(role string) func(ctx context.Context) (resident, error) {
	return func(ctx context.Context) (resident, error) {
		p, err := startProcess(ctx, role)
		if err != nil { // p is nil, and a resident that holds it would not be
			return nil, err
		}
		return p, nil
	}
}

// idlePack starts processes, looks at them twice, and returns the medians of what it saw.
func idlePack(ctx context.Context, sc scale, start func(ctx context.Context) (resident, error)) (middle sample, err error) {
	var pack []resident
	defer func() {
		for _, p := range pack {
			err = errors.Join(err, p.end())
		}
	}()
	for range sc.pack {
		p, err := start(ctx)
		if err != nil {
			return nil, err
		}
		pack = append(pack, p)
	}
	if err := pause(ctx, settling); err != nil {
		return nil, err
	}
	before, err := lookAtAll(pack)
	if err != nil {
		return nil, err
	}
	if err := pause(ctx, sc.idle); err != nil {
		return nil, err
	}
	after, err := lookAtAll(pack)
	if err != nil {
		return nil, err
	}
	var samples []sample
	for i := range pack {
		samples = append(samples, after[i].since(before[i]))
	}
	return medians(samples), nil
}

// A look is what the system tells of a process, or of some, at one moment.
type look struct {
	at      time.Time
	cpu     time.Duration // used since its start
	rss     int64         // bytes
	rssAnon int64         // bytes
}

func lookAtAll(pack []resident) ([]look, error) {
	var looks []look
	for _, p := range pack {
		l, err := lookAtFamily(p.pid())
		if err != nil {
			return nil, err
		}
		looks = append(looks, l)
	}
	return looks, nil
}

// since returns how busy the process was since the former look, and how large it is now.
func (l look) since(former look) sample {
	return sample{
		share:   (l.cpu - former.cpu).Seconds() / l.at.Sub(former.at).Seconds(),
		rss:     float64(l.rss),
		rssAnon: float64(l.rssAnon),
	}
}

// pause waits, unless ctx ends.
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
