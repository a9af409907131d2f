package main

import (
	"context"
	"errors"
	"sync"

	"github.com/tidemill/tidemill"
)

// The shapes of Ray's own benchmark, ray_perf.py, as in ray/side.py.
const (
	batch   = 1_000 // tasks that a client submits before it gets them, and refs to wait for
	clients = 4
	leaves  = 256
)

func (r ray) syncRow() row {
	return row{
		name: "ray: tasks sync", about: "single client tasks sync: submit, get, again",
		open: r.beside(oursOnly(side{"tidemill", func(ctx context.Context) (sample, error) { return trips(ctx, 2_000, submitAndGet) }}),
			request{"tasks_sync", 500}),
		figures: []figure{
			{"rate", perSecond, reading{0, rate}, reading{1, rate}, "Ray", ratioAtLeast(20)},
			{"p50", seconds, reading{0, p50}, reading{1, p50}, "Ray", goal{}},
			{"p99", seconds, reading{0, p99}, reading{1, p99}, "Ray", goal{}},
		},
	}
}

// asyncRow does what Ray does, but more often, since one batch is too short to measure.
func (r ray) asyncRow() row {
	return row{
		name: "ray: tasks async", about: "single client tasks async: 1,000 submits, then get all (ours 50 times a round, Ray's twice)",
		open: r.beside(oursOnly(side{"tidemill", repeated(50, batch, submitBatch)}),
			request{"tasks_async", 2}),
		figures: []figure{{"rate", perSecond, reading{0, rate}, reading{1, rate}, "Ray", ratioAtLeast(100)}},
	}
}

func submitBatch(ctx context.Context) error {
	_, err := submitThenGetAll(ctx, batch)
	return err
}

func (r ray) clientsRow() row {
	return row{
		name: "ray: multi client", about: "multi client tasks async: 4 clients with 1,000 each, goroutines and actors (ours 25 times a round)",
		open: r.beside(oursOnly(side{"tidemill", repeated(25, clients*batch, submitFromClients)}),
			request{"multi_client", 1}),
		figures: []figure{{"rate", perSecond, reading{0, rate}, reading{1, rate}, "Ray", ratioAtLeast(100)}},
	}
}

func submitFromClients(ctx context.Context) error {
	var all sync.WaitGroup
	var errs [clients]error
	for i := range errs {
		all.Go(func() { errs[i] = submitBatch(ctx) })
	}
	all.Wait()
	return errors.Join(errs[:]...)
}

// grainRow measures tasks that are too fine-grained. Each side computes for 10 µs in its own language.
func (r ray) grainRow() row {
	naive := side{"tidemill", func(ctx context.Context) (sample, error) { return spinTasks(ctx, 10_000, calibrated()) }}
	return row{
		name: "ray: fine grain", about: "too fine a grain: tasks of 10 µs, submit each, get all (ours 10,000 a round, Ray's 2,000)",
		open: r.beside(oursOnly(naive), request{"grain_naive", 2_000}, request{"grain_by_hand", 10_000}),
		figures: []figure{
			{"rate", perSecond, reading{0, rate}, reading{1, rate}, "Ray, the same program", ratioAtLeast(130)},
			{"rate", perSecond, reading{0, rate}, reading{2, rate}, "Ray, 10,000 by hand in ten tasks", ratioAtLeast(1)},
		},
	}
}

// calibrated returns how many turns of spin take as long as a grain.
var calibrated = sync.OnceValue(func() int { return calibrate(grain) })

func (r ray) nestedRow() row {
	return row{
		name: "ray: nested", about: "nested calls, each waiting for the next, 20 deep, after Ray has started its processes (ours 100 times a round)", times: 3,
		open: r.beside(oursOnly(side{"tidemill", repeated(100, deep+1, submitDeep)}),
			request{"nested", deep}),
		figures: []figure{
			{"time", seconds, reading{0, elapsed}, reading{1, elapsed}, "Ray", atMost(0.020)},
		},
	}
}

// firstNested is how many new clusters are measured: Ray takes about ten seconds for each.
const firstNested = 3

// firstNestedRow measures the first nested calls of a cluster: Ray starts a process for each call that waits.
func (r ray) firstNestedRow() row {
	return row{
		name: "ray: nested, first", about: "the first nested calls of a fresh cluster, 20 deep, medians of 3", once: true,
		open: func(context.Context, scale) (*trial, error) {
			return &trial{
				sides: []side{
					{"tidemill", func(ctx context.Context) (sample, error) { return medianOf(ctx, firstNested, nestFirst) }},
					{"ray", func(ctx context.Context) (sample, error) { return medianOf(ctx, firstNested, r.nestFirst) }},
				},
				close: func() error { return nil },
			}, nil
		},
		figures: []figure{
			{"time", seconds, reading{0, elapsed}, reading{1, elapsed}, "Ray", atMost(0.020)},
		},
	}
}

// medianOf takes a number of rounds and returns their medians.
func medianOf(ctx context.Context, times int, round func(ctx context.Context) (sample, error)) (sample, error) {
	var samples []sample
	for range times {
		s, err := round(ctx)
		if err != nil {
			return nil, err
		}
		samples = append(samples, s)
	}
	return medians(samples), nil
}

func nestFirst(ctx context.Context) (s sample, err error) {
	c, err := tidemill.Open(ctx, tidemill.Config{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closeCluster(c)) }()
	ctx = c.Context(ctx)
	if err := submitAndGet(ctx); err != nil { // Ray's side has run a first task as well
		return nil, err
	}
	return repeated(1, deep+1, submitDeep)(ctx)
}

func (r ray) nestFirst(ctx context.Context) (sample, error) {
	p, err := startPeer(ctx, r.command)
	if err != nil {
		return nil, err
	}
	s, err := p.round(ctx, request{"nested", deep})
	return s, errors.Join(err, p.end())
}

func (r ray) treeRow() row {
	return row{
		name: "ray: tree", about: "tree of reductions: 256 leaves, 511 tasks, through references (ours 25 times a round)",
		open: r.beside(oursOnly(side{"tidemill", repeated(25, 2*leaves-1, func(ctx context.Context) error { return reduce(ctx, leaves) })}),
			request{"tree", 1}),
		figures: []figure{{"rate", perSecond, reading{0, rate}, reading{1, rate}, "Ray", ratioAtLeast(50)}},
	}
}

// waitRow measures waiting for 1,000 tasks until none is left. Our Wait returns all refs that are ready, Ray's one, so that
// ours is called less often.
func (r ray) waitRow() row {
	return row{
		name: "ray: wait", about: "single client wait 1k refs: submit 1,000, wait for one of those left until none is (ours 50 times a round)",
		open: r.beside(oursOnly(side{"tidemill", repeated(50, 1, func(ctx context.Context) error { return waitForEach(ctx, submitted(ctx, waited)) })}),
			request{"wait_refs", 1}),
		figures: []figure{{"rate of all of it", perSecond, reading{0, rate}, reading{1, rate}, "Ray", ratioAtLeast(500)}},
	}
}
