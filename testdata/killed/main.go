// Command killed is a named job that tests kill at chosen places and run again. Each result has something
// random in it, so that one which was made twice shows, and each execution leaves a line in a file.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
)

// Order is what a task is to do.
type Order struct {
	N     int
	Runs  string // the file to which each execution adds a line
	Takes time.Duration
	Plan  []byte // large for some, so that it is put into the store
}

// Result is what a task has done.
type Result struct {
	N     int
	Nonce string
	Rest  []byte // as large as the plan
}

var work = engine.NewFunc("work", func(ctx context.Context, o Order) (Result, error) {
	runs, err := os.OpenFile(o.Runs, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return Result{}, err
	}
	_, err = fmt.Fprintln(runs, o.N)
	if err := errors.Join(err, runs.Close()); err != nil {
		return Result{}, err
	}
	timer := time.NewTimer(o.Takes) // its end is waited for, whatever the context says
	<-timer.C
	if o.N%7 == 0 && engine.Attempt(ctx) == 1 {
		return Result{}, errors.New("the first attempt of every seventh")
	}
	return Result{o.N, rand.Text(), make([]byte, len(o.Plan))}, nil
})

var (
	tasks   = flag.Int("tasks", 200, "how many")
	runs    = flag.String("runs", "", "file of executions")
	flushed = flag.String("flushed", "", "file that is written when all tasks are stored")
	takes   = flag.Duration("takes", 0, "how long a task takes")
	seen    = flag.String("seen", "", "file of results: a line for each, as it is seen")
)

func main() { tidemill.Main(run) }

func run(ctx context.Context) error {
	var refs []engine.Ref[Result]
	for n := range *tasks {
		var plan []byte
		if n%20 == 3 {
			plan = make([]byte, 100_000+n)
		}
		refs = append(refs, work.Submit(ctx, Order{n, *runs, *takes, plan}))
	}
	if err := engine.Flush(ctx); err != nil {
		return err
	}
	if err := os.WriteFile(*flushed, nil, 0o600); err != nil {
		return err
	}
	out, err := os.OpenFile(*seen, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	for len(refs) > 0 {
		var ready []engine.Ref[Result]
		if ready, refs, err = engine.Wait(ctx, refs, 1); err != nil {
			return err
		}
		for _, ref := range ready {
			r, err := ref.Get(ctx)
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintln(out, r.N, r.Nonce); err != nil {
				return err
			}
		}
	}
	return out.Close()
}
