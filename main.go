package tidemill

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrUsage marks an error of how a program was called: Main prints it with the usage, and exits 2.
var ErrUsage = errors.New("usage")

// closeGrace is how long Main waits for running tasks after run has returned.
const closeGrace = 10 * time.Second

// Main runs a program: it parses the flags, opens a cluster, calls run with its context, closes the
// cluster and exits: 0 if run returned nil, 1 after an error, 2 after a wrong call.
//
// Main adds its flags to flag.CommandLine, beside the program's own, and parses; the program reads its
// arguments with flag.Args(). Each flag has a variable, TIDEMILL_ and its name in capitals, which is
// looked at where the flag is not given. A flag that the program has defined already is left to it; the
// variable still works.
//
// The first interrupt ends run's context; a second one ends the process at once.
func Main(run func(ctx context.Context) error) {
	os.Exit(mainWith(run))
}

func mainWith(run func(ctx context.Context) error) int {
	if len(os.Args) > 1 && os.Args[1] == "agent" {
		return complain(fmt.Errorf("%w: agents in processes of their own are not built yet; a program runs its tasks itself", ErrUsage))
	}
	settings := addFlags(flag.CommandLine)
	flag.Parse()
	cfg, err := settings.config(flag.CommandLine, os.LookupEnv)
	if err != nil {
		return complain(err)
	}
	ctx, stop := interruptible(context.Background())
	defer stop()
	return complain(runWith(ctx, cfg, run))
}

// interruptible returns a context that ends with the first interrupt. A second one finds the default
// handling, which is in place before the context ends.
func interruptible(parent context.Context) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancel(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-signals:
		case <-ctx.Done():
		}
		signal.Stop(signals)
		cancel()
	}()
	return ctx, func() {
		cancel()
		<-ended
	}
}

func runWith(ctx context.Context, cfg Config, run func(ctx context.Context) error) error {
	cluster, err := Open(ctx, cfg)
	if err != nil {
		return err
	}
	err = cluster.run(ctx, run)
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeGrace)
	defer cancel()
	switch {
	case err == nil:
		err = cluster.End(grace)
	case cfg.Job != "" && !errors.Is(err, ErrUsage):
		fmt.Fprintf(os.Stderr, "%s: job %s has not ended: run again with the same -dir and -job, and it goes on\n", program(), cfg.Job)
	}
	return errors.Join(err, cluster.Close(grace))
}

// run calls the program's run with a context that ends too when the session can do nothing more, such as
// a job's whose lease is lost; that is its error then.
func (c *Cluster) run(ctx context.Context, run func(ctx context.Context) error) error {
	running, stop := context.WithCancelCause(c.Context(ctx))
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-c.session.Done():
			stop(c.session.Err())
		case <-running.Done():
		}
	}()
	err := run(running)
	if broken := c.session.Err(); broken != nil {
		err = broken
	}
	stop(nil)
	<-watched
	return err
}

// complain prints the error, if there is one, and returns the exit code.
func complain(err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintf(os.Stderr, "%s: %v\n", program(), err)
	if errors.Is(err, ErrUsage) {
		fmt.Fprintf(os.Stderr, "Run %q for help.\n", program()+" -h")
		return 2
	}
	return 1
}

func program() string {
	name := os.Args[0]
	return name[strings.LastIndexByte(name, '/')+1:]
}

// settings are Main's flags before they are a Config.
type settings map[string]*string

// setting is a flag of Main.
type setting struct {
	name, help string
	set        func(cfg *Config, value string) error
}

var flags = []setting{
	{"listen", "let other NATS clients in at this `address`, such as 127.0.0.1:4222", func(cfg *Config, v string) error {
		cfg.Listen = v
		return nil
	}},
	{"dir", "keep streams in files in this `directory`: what is stored then survives a kill and a power cut (default: in memory)", func(cfg *Config, v string) error {
		cfg.Dir = v
		return nil
	}},
	{"job", "a `name` that makes the run resumable: run again under it, and it goes on where it stopped; needs -dir", func(cfg *Config, v string) error {
		cfg.Job = v
		return nil
	}},
	{"sync", "what a power cut may cost with -dir: `always` (nothing), or no-sync-for-two-minutes (so much)", func(cfg *Config, v string) error {
		modes := map[string]SyncMode{"always": SyncAlways, "no-sync-for-two-minutes": NoSyncForTwoMinutes}
		mode, ok := modes[v]
		if !ok {
			return errors.New("want always or no-sync-for-two-minutes")
		}
		cfg.Sync = mode
		return nil
	}},
	{"node", "this node's `name` (default: the host's)", func(cfg *Config, v string) error {
		cfg.NodeID = v
		return nil
	}},
	{"namespace", "the first `token` of every subject and stream (default: tm)", func(cfg *Config, v string) error {
		cfg.Namespace = v
		return nil
	}},
	{"resources", "what tasks may take together, over what was detected: `name=amount`,… such as cpu=4,memory=8Gi,db=1", func(cfg *Config, v string) (err error) {
		cfg.Resources, err = parseResources(v)
		return err
	}},
	{"agent", "whether this process runs tasks: `auto`, on or off", func(cfg *Config, v string) error {
		for mode := AgentAuto; mode <= AgentOff; mode++ {
			if v == mode.String() {
				cfg.Agent = mode
				return nil
			}
		}
		return errors.New("want auto, on or off")
	}},
}

// addFlags adds Main's flags to the set, but for those that the program has.
func addFlags(set *flag.FlagSet) settings {
	values := settings{}
	for _, f := range flags {
		if set.Lookup(f.name) == nil {
			values[f.name] = set.String(f.name, "", f.help+"; or $"+variable(f.name))
		}
	}
	return values
}

func variable(name string) string { return "TIDEMILL_" + strings.ToUpper(name) }

// config returns what flags and variables say: flag before variable before default.
func (s settings) config(set *flag.FlagSet, lookup func(string) (string, bool)) (Config, error) {
	given := map[string]bool{}
	set.Visit(func(f *flag.Flag) { given[f.Name] = true })
	var cfg Config
	var errs []error
	for _, f := range flags {
		value, from := "", ""
		if v, ok := lookup(variable(f.name)); ok {
			value, from = v, "$"+variable(f.name)
		}
		if v := s[f.name]; v != nil && given[f.name] {
			value, from = *v, "-"+f.name
		}
		if value == "" {
			continue
		}
		if err := f.set(&cfg, value); err != nil {
			errs = append(errs, fmt.Errorf("%w: %s %q: %w", ErrUsage, from, value, err))
		}
	}
	return cfg, errors.Join(errs...)
}

// parseResources reads cpu=4,memory=8Gi,db=1.
func parseResources(list string) (map[string]float64, error) {
	resources := map[string]float64{}
	for item := range strings.SplitSeq(list, ",") {
		name, amount, ok := strings.Cut(strings.TrimSpace(item), "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("%q: want name=amount", item)
		}
		scale := 1.0
		for unit, bytes := range map[string]float64{"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40} {
			if digits, ok := strings.CutSuffix(amount, unit); ok {
				amount, scale = digits, bytes
			}
		}
		n, err := strconv.ParseFloat(amount, 64)
		if err != nil {
			return nil, fmt.Errorf("%q: %q is no number", item, amount)
		}
		resources[name] = n * scale
	}
	return resources, nil
}
