package main

import "context"

func (r ray) startRow() row {
	return row{
		name: "ray: start", about: "start of a process to the result of its first task",
		open: func(context.Context, scale) (*trial, error) {
			return &trial{
				sides: []side{
					{"tidemill", func(ctx context.Context) (sample, error) { return startAndEnd(ctx, tinyProgram) }},
					{"ray", r.startAndEnd},
				},
				close: func() error { return nil },
			}, nil
		},
		figures: []figure{
			{"to the first result", seconds, reading{0, elapsed}, reading{1, elapsed}, "Ray", atMost(0.150)},
		},
	}
}

func (r ray) startAndEnd(ctx context.Context) (sample, error) {
	p, err := startPeer(ctx, r.command)
	if err != nil {
		return nil, err
	}
	return sample{elapsed: p.started.Seconds()}, p.end()
}

// idleRow measures all processes of each system. (Memory that processes share counts once for each of them in the RSS, and
// not at all in the anonymous RSS.)
func (r ray) idleRow() row {
	return row{
		name: "ray: idle", about: "all processes that sit idle after the first result", once: true,
		open: func(_ context.Context, sc scale) (*trial, error) {
			return &trial{
				sides: []side{
					{"tidemill", func(ctx context.Context) (sample, error) { return measureIdle(ctx, sc, startChild(tinyProgram)) }},
					{"ray", func(ctx context.Context) (sample, error) {
						sc.idlers = 1 // Ray starts many processes of its own
						return measureIdle(ctx, sc, r.startIdler)
					}},
				},
				close: func() error { return nil },
			}, nil
		},
		figures: []figure{
			{"RSS", ofBytes, reading{0, rss}, reading{1, rss}, "Ray", atMost(40e6)},
			{"anonymous RSS", ofBytes, reading{0, rssAnon}, reading{1, rssAnon}, "Ray", goal{}},
			{"CPU, of a core", percent, reading{0, share}, reading{1, share}, "Ray", atMost(0.005)},
		},
	}
}

func (r ray) startIdler(ctx context.Context) (idler, error) {
	p, err := startPeer(ctx, r.command)
	if err != nil { // return nil, not an idler with a nil *peer
		return nil, err
	}
	return p, nil
}
