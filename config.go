package tidemill

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"regexp"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tidemill/tidemill/engine"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/queues"
	"github.com/tidemill/tidemill/queues/embedded"
)

// AgentMode says whether this process runs tasks.
type AgentMode int8

// AgentAuto is on where the server is embedded.
const (
	AgentAuto AgentMode = iota
	AgentOn
	AgentOff
)

// String returns the mode as the flag -agent takes it.
func (m AgentMode) String() string {
	switch m {
	case AgentOn:
		return "on"
	case AgentOff:
		return "off"
	default:
		return "auto"
	}
}

// SyncMode says what a power cut may cost where streams are kept in files. A killed process costs nothing
// in either mode.
type SyncMode = embedded.SyncMode

// SyncAlways acknowledges what is on the disk, and a power cut costs nothing. NoSyncForTwoMinutes
// acknowledges what the system has: a power cut loses what came in the last two minutes, and whole streams
// that are no older.
const (
	SyncAlways          = embedded.SyncAlways
	NoSyncForTwoMinutes = embedded.NoSyncForTwoMinutes
)

// Config says what to open. The zero value is a whole cluster in this process: a server that listens to
// nobody else, streams in memory, and an agent with a slot for each CPU.
type Config struct {
	// Namespace is the first token of every subject and stream, [a-z0-9_-]{1,32}. "" = "tm".
	Namespace string

	// Listen is the address at which the embedded server lets other NATS clients in, such as
	// 127.0.0.1:4222; port 0 takes any free one. They are trusted: they can read and publish whatever this
	// program can. "" = this process alone.
	Listen string

	// Dir is where the embedded server keeps its streams in files: what was acknowledged then survives a
	// killed process and a power cut (see Sync). It is made if there is none, and one process uses it at a
	// time. "" = in memory, gone at Close.
	Dir string

	// Limit bounds the bytes that streams in Dir may take; when 85 % of it, or of what the disk has for them,
	// is used, submits fail with engine.ErrStorageFull until there is room. 0 = what the disk has.
	Limit int64

	// Sync says what a power cut may cost, with Dir. The zero value, SyncAlways, costs nothing.
	Sync SyncMode

	// Job names the run, [a-z0-9_-]{1,64}, and makes it resumable: a program that runs again under the same
	// name takes the results recorded by former runs, and goes on where they stopped. It needs Dir. "" = a
	// run of its own, whose tasks end with it.
	Job string

	// JobTTL is how long an unfinished named job is kept while nobody runs it. 0 = 7 days.
	JobTTL time.Duration

	// Agent says whether this process runs tasks. Without an agent, tasks wait.
	Agent AgentMode

	// Resources are what the agent's tasks may take together, over what was detected: "cpu" (default:
	// GOMAXPROCS), "memory" in bytes (default: the machine's), and any others by name, such as
	// {"cpu_only_node": 1}.
	Resources map[string]float64

	// ObjectMemory bounds the bytes of large values (over 64 KiB) that are kept in this process: all of them, or in a
	// named job, which keeps them in Dir, those in use. A put waits for room, and fails when none comes; a task of a named
	// job fails whose inputs have more of them together.
	// 0 = a quarter of the machine's memory.
	ObjectMemory int64

	// Budget bounds the bytes that one engine.GetAll brings. 0 = a quarter of the machine's memory.
	Budget int64

	// NodeID is the agent's name, [a-z0-9_-]{1,64}. "" = the host's name, as far as it is one.
	NodeID string

	// Registry holds the functions that the agent can run. nil = engine.DefaultRegistry().
	Registry *engine.Registry

	// Logger gets what is worth a warning. nil = slog.Default().
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.Namespace == "" {
		c.Namespace = "tm"
	}
	if c.Agent == AgentAuto {
		c.Agent = AgentOn
	}
	if c.NodeID == "" {
		c.NodeID = hostName()
	}
	if c.Registry == nil {
		c.Registry = engine.DefaultRegistry()
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.ObjectMemory == 0 {
		c.ObjectMemory = int64(totalMemory() / 4)
	}
	if c.Budget == 0 {
		c.Budget = int64(totalMemory() / 4)
	}
	resources := map[string]float64{task.CPU: float64(runtime.GOMAXPROCS(0)), task.Memory: float64(totalMemory())}
	maps.Copy(resources, c.Resources)
	c.Resources = resources
	return c
}

// validate reports all faults at once.
func (c Config) validate() error {
	var errs []error
	fault := func(field string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("the %s of Config: %w", field, err))
		}
	}
	fault("Namespace", queues.Names{Namespace: c.Namespace}.Check())
	fault("NodeID", task.CheckName("node", c.NodeID))
	if c.Job != "" {
		fault("Job", task.CheckName("job", c.Job))
		if c.Dir == "" {
			fault("Job", errors.New("a named job is resumed from files: it needs Dir"))
		}
	}
	if c.JobTTL != 0 && c.Job == "" {
		fault("JobTTL", errors.New("it is how long a named job is kept: it needs Job"))
	}
	if c.JobTTL < 0 {
		fault("JobTTL", fmt.Errorf("%s, want 0 or more", c.JobTTL))
	}
	if c.ObjectMemory < 0 {
		fault("ObjectMemory", fmt.Errorf("%d bytes", c.ObjectMemory))
	}
	if c.Budget < 0 {
		fault("Budget", fmt.Errorf("%d bytes", c.Budget))
	}
	if c.Limit < 0 || c.Limit > 0 && c.Limit < leastLimit {
		fault("Limit", fmt.Errorf("%d bytes, want %d or more", c.Limit, leastLimit))
	}
	if c.Dir == "" && (c.Limit != 0 || c.Sync != SyncAlways) {
		fault("Dir", errors.New("bounds and syncing are of streams in files: Limit and Sync need Dir"))
	}
	r, err := task.NewResources(c.Resources)
	fault("Resources", err)
	if err == nil && c.Agent == AgentOn && r.Of(task.CPU) < 1 {
		fault("Resources", errors.New("an agent needs some cpu"))
	}
	if c.Agent < AgentAuto || c.Agent > AgentOff {
		fault("Agent", fmt.Errorf("no mode %d", c.Agent))
	}
	return errors.Join(errs...)
}

// leastLimit leaves room for the server's own files.
const leastLimit = 32 << 20

var notInNames = regexp.MustCompile(`[^a-z0-9_-]+`)

func hostName() string {
	host, _ := os.Hostname()
	host, _, _ = strings.Cut(strings.ToLower(host), ".")
	host = strings.Trim(notInNames.ReplaceAllString(host, "-"), "-")
	if host == "" {
		return "node"
	}
	return host[:min(len(host), 64)]
}

// totalMemory returns the machine's memory in bytes, 1 GiB if it cannot be told.
func totalMemory() uint64 {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 1 << 30
	}
	return info.Totalram * uint64(info.Unit)
}
