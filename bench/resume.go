package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
)

// resumes is how often the round runs the job again.
const resumes = 3

// resumeRow measures a named job with many recorded tasks when it runs again: the time until its first new task is stored,
// and the memory that each recorded task takes.
func resumeRow() row {
	return row{
		name: "resume", about: "a named job run again, with 1,000,000 recorded tasks, up to its first new task", once: true,
		open: func(ctx context.Context, sc scale) (*trial, error) {
			home, err := os.MkdirTemp("", "bench-")
			if err != nil {
				return nil, err
			}
			tidy := func() error { return os.RemoveAll(home) }
			j := &recordedJob{dir: home, tasks: sc.recorded, base: heap()}
			if err := j.record(ctx); err != nil {
				return nil, errors.Join(err, tidy())
			}
			return &trial{
				sides: []side{{"tidemill", j.resume}},
				close: tidy,
			}, nil
		},
		figures: []figure{
			{"to the first new task", seconds, reading{0, elapsed}, reading{}, "", atMost(5)},
			{"memory a recorded task", ofBytes, reading{0, size}, reading{}, "", goal{}},
			{"recorded results taken", perSecond, reading{0, rate}, reading{}, "", goal{}},
		},
	}
}

// A recordedJob is a named job with recorded tasks.
type recordedJob struct {
	dir   string
	tasks int
	base  int64 // heap before the first cluster was opened, in bytes
}

func (j *recordedJob) open(ctx context.Context) (*tidemill.Cluster, error) {
	return tidemill.Open(ctx, tidemill.Config{Dir: j.dir, Job: "bench"})
}

// record runs the job for the first time. Closing the cluster leaves the job to be resumed.
func (j *recordedJob) record(ctx context.Context) error {
	c, err := j.open(ctx)
	if err != nil {
		return err
	}
	_, err = mapAll(c.Context(ctx), j.tasks)
	return errors.Join(err, closeCluster(c))
}

// resume runs the job again several times, and returns the medians.
func (j *recordedJob) resume(ctx context.Context) (sample, error) {
	var samples []sample
	for i := range resumes {
		s, err := j.resumeOnce(ctx, -1-i)
		if err != nil {
			return nil, err
		}
		samples = append(samples, s)
	}
	return medians(samples), nil
}

// resumeOnce runs the job again: first a task with a new input, then those whose results are recorded.
func (j *recordedJob) resumeOnce(ctx context.Context, fresh int) (s sample, err error) {
	start := time.Now()
	c, err := j.open(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closeCluster(c)) }()
	ctx = c.Context(ctx)
	ref := Noop.Submit(ctx, fresh)
	if err := engine.Flush(ctx); err != nil {
		return nil, err
	}
	s = sample{elapsed: time.Since(start).Seconds(), size: float64(heap()-j.base) / float64(j.tasks)}
	if _, err := ref.Get(ctx); err != nil || ref.Resumed() {
		return nil, fmt.Errorf("the new task: got resumed %v and error %w, want false and none", ref.Resumed(), err)
	}
	taken, err := mapAll(ctx, j.tasks)
	s[rate] = taken[rate]
	return s, err
}

// heap returns the number of live bytes. It collects three times, to free what pools and finalizers hold.
func heap() int64 {
	for range 3 {
		runtime.GC()
	}
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	return int64(mem.HeapAlloc)
}
