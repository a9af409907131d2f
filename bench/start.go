package main

import "context"

// startRow measures the time from the start of a process to the result of its first task.
func startRow() row {
	return row{
		name: "start", about: "start of a process to the result of its first task", times: 2,
		open: func(context.Context, scale) (*trial, error) {
			return &trial{
				sides: []side{
					{"tidemill", func(ctx context.Context) (sample, error) { return startAndEnd(ctx, tinyProgram) }},
					{"bare", func(ctx context.Context) (sample, error) { return startAndEnd(ctx, bareProgram) }},
				},
				close: func() error { return nil },
			}, nil
		},
		figures: []figure{
			{"to the first result", seconds, reading{0, elapsed}, reading{1, elapsed}, "a process that prints a line", atMost(0.150)},
		},
	}
}

func startAndEnd(ctx context.Context, role string) (sample, error) {
	p, err := startProcess(ctx, role)
	if err != nil {
		return nil, err
	}
	return sample{elapsed: p.started.Seconds()}, p.end()
}
