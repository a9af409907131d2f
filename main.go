package tidemill

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrUsage marks an error in the command line of a program. If run returns an error that wraps it, Main refers to -h and
// exits with code 2.
var ErrUsage = errors.New("usage")

// closeGrace is how long Main waits for running tasks after run has returned.
const closeGrace = 10 * time.Second

// Main runs a program: it parses the flags, opens a cluster, calls run with a context that carries the session, closes the
// cluster, and exits. The exit code is 0 if run returned nil, 1 after an error, and 2 if the command line was wrong
// (ErrUsage).
//
// Main adds its flags to those that the program has defined in flag.CommandLine, and parses the command line; the program
// reads its arguments with flag.Args(). Each flag of Main has an environment variable, TIDEMILL_ and the flag's name in
// capitals, which is used if the flag is not given. If the program has defined a flag of the same name, the flag belongs
// to the program, and Main only reads the variable.
//
// The first interrupt (SIGINT or SIGTERM) cancels the context of run; the second one ends the process at once.
func Main(run func(ctx context.Context) error) {
	os.Exit(mainWith(run))
}

func mainWith(run func(ctx context.Context) error) int {
	if len(os.Args) > 1 && os.Args[1] == "agent" {
		return exitCode(fmt.Errorf("%w: separate agent processes are not implemented yet; run the program without \"agent\", and it runs its tasks itself", ErrUsage))
	}
	settings := addFlags(flag.CommandLine)
	if reflect.ValueOf(flag.Usage).Pointer() == defaultUsage {
		flag.Usage = usage
	}
	flag.Parse()
	cfg, err := settings.config(flag.CommandLine, os.LookupEnv)
	if err != nil {
		return exitCode(err)
	}
	ctx, stop := interruptible(context.Background())
	defer stop()
	return exitCode(runWith(ctx, cfg, run))
}

// defaultUsage identifies the help text of package flag.
var defaultUsage = reflect.ValueOf(flag.Usage).Pointer()

// usage is as the help text of package flag, but names the program and not its file, whose path under go run means nothing
// to the user.
func usage() {
	fmt.Fprintf(flag.CommandLine.Output(), "Usage of %s:\n", program())
	flag.PrintDefaults()
}

// interruptible returns a context that the first interrupt cancels. The default handling of signals is restored before the
// context is cancelled, so that a second interrupt ends the process.
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
		fmt.Fprintf(os.Stderr, "%s: job %s has not finished: run the program again with the same -dir and -job to resume it\n", program(), cfg.Job)
	}
	return errors.Join(err, cluster.Close(grace))
}

// run calls the program's run. If the session fails meanwhile, for example since a job has lost its lease, the context of
// run is cancelled, and the session's error is returned.
func (c *Cluster) run(ctx context.Context, run func(ctx context.Context) error) error {
	runCtx, stop := context.WithCancelCause(c.Context(ctx))
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-c.session.Done():
			stop(c.session.Err())
		case <-runCtx.Done():
		}
	}()
	err := run(runCtx)
	if broken := c.session.Err(); broken != nil {
		err = broken
	}
	stop(nil)
	<-watched
	return err
}

// exitCode prints the error, if there is one, and returns the exit code for it.
func exitCode(err error) int {
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

func program() string { return strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe") }

// settings are the values of Main's flags, by flag name. A flag that the program has defined itself is not in it.
type settings map[string]*string

// setting is a flag of Main and how it changes the Config.
type setting struct {
	name, help string
	set        func(cfg *Config, value string) error
}

var flags = []setting{
	{"listen", "accept connections of other NATS clients at this `address`, such as 127.0.0.1:4222", func(cfg *Config, v string) error {
		cfg.Listen = v
		return nil
	}},
	{"dir", "store tasks and results in this `directory`, so that they survive the process (default: in memory)", func(cfg *Config, v string) error {
		cfg.Dir = v
		return nil
	}},
	{"job", "make the run resumable under this `name`: if it is killed, run it again with the same -job and -dir", func(cfg *Config, v string) error {
		cfg.Job = v
		return nil
	}},
	{"sync", "what a power cut may lose with -dir, by `mode`: always = nothing, no-sync-for-two-minutes = the last two minutes (default: always)", func(cfg *Config, v string) error {
		modes := map[string]SyncMode{"always": SyncAlways, "no-sync-for-two-minutes": NoSyncForTwoMinutes}
		mode, ok := modes[v]
		if !ok {
			return errors.New("want always or no-sync-for-two-minutes")
		}
		cfg.Sync = mode
		return nil
	}},
	{"node", "the `name` of this node (default: the host name)", func(cfg *Config, v string) error {
		cfg.NodeID = v
		return nil
	}},
	{"namespace", "the `prefix` of all NATS subjects and streams (default: tm)", func(cfg *Config, v string) error {
		cfg.Namespace = v
		return nil
	}},
	{"resources", "total resources of the tasks that run at a time, as a `list` such as cpu=4,memory=8Gi,db=1 (default: all CPUs and memory)", func(cfg *Config, v string) (err error) {
		cfg.Resources, err = parseResources(v)
		return err
	}},
	{"agent", "whether this process runs tasks, by `mode`: auto, on or off (default: auto, which is on)", func(cfg *Config, v string) error {
		for mode := AgentAuto; mode <= AgentOff; mode++ {
			if v == mode.String() {
				cfg.Agent = mode
				return nil
			}
		}
		return errors.New("want auto, on or off")
	}},
}

// addFlags adds Main's flags to the set, except those that the program has defined.
func addFlags(set *flag.FlagSet) settings {
	values := settings{}
	for _, f := range flags {
		if set.Lookup(f.name) == nil {
			values[f.name] = set.String(f.name, "", f.help+" [$"+variable(f.name)+"]")
		}
	}
	return values
}

func variable(name string) string { return "TIDEMILL_" + strings.ToUpper(name) }

// config returns the Config that flags and environment variables describe. A flag has precedence over its variable. An
// error names every invalid value.
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

// parseResources parses a list such as cpu=4,memory=8Gi,db=1. An amount may have a binary unit: Ki, Mi, Gi or Ti.
func parseResources(list string) (map[string]float64, error) {
	resources := map[string]float64{}
	for item := range strings.SplitSeq(list, ",") {
		name, amount, ok := strings.Cut(strings.TrimSpace(item), "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("%q: want name=amount, such as cpu=4", item)
		}
		scale := 1.0
		for unit, bytes := range map[string]float64{"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40} {
			if digits, ok := strings.CutSuffix(amount, unit); ok {
				amount, scale = digits, bytes
			}
		}
		n, err := strconv.ParseFloat(amount, 64)
		if err != nil {
			return nil, fmt.Errorf("%q: %q is not a number, want one such as 4, 0.5 or 8Gi", item, amount)
		}
		resources[name] = n * scale
	}
	return resources, nil
}
