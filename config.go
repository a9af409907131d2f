package tidemill

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/tidemill/tidemill/engine"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/internal/platform"
	"github.com/tidemill/tidemill/queues"
	"github.com/tidemill/tidemill/queues/embedded"
)

// AgentMode says whether this process runs tasks.
type AgentMode int8

// The agent modes.
const (
	AgentAuto AgentMode = iota // AgentOn if the NATS server is embedded in this process
	AgentOn                    // this process runs tasks
	AgentOff                   // this process runs no tasks
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

// SyncMode says which acknowledged messages a power cut may lose, if streams are stored in files. Killing the process loses
// none in either mode.
type SyncMode = embedded.SyncMode

const (
	// SyncAlways acknowledges a message when it is on the disk: a power cut loses nothing.
	SyncAlways = embedded.SyncAlways
	// NoSyncForTwoMinutes acknowledges a message when the operating system has it: a power cut loses the messages of the
	// last two minutes, and every stream that was created in that time.
	NoSyncForTwoMinutes = embedded.NoSyncForTwoMinutes
)

// Config says what Open starts. The zero value is a whole cluster in this process: a NATS server that no other process can
// reach, streams in memory, and an agent with all CPUs of the machine.
type Config struct {
	// Namespace is the first token of every subject and the prefix of every stream name; it matches [a-z0-9_-]{1,32}.
	// "" = "tm".
	Namespace string

	// Listen is the address at which the embedded server accepts connections of other NATS clients, such as
	// 127.0.0.1:4222; port 0 picks a free one (see Cluster.URL). There is no authentication: clients can read and publish
	// whatever this program can. "" = no connections from other processes.
	Listen string

	// Dir is the directory in which the embedded server stores its streams. What it has acknowledged then survives the
	// end of the process and a power cut (see Sync). Open creates the directory if it does not exist. Only one process
	// may use it at a time. If it is deleted or can be written no more, all that waits ends with engine.ErrStorageLost.
	// "" = streams in memory, gone at Close.
	Dir string

	// Limit is how many bytes the streams in Dir may occupy, at least 32 MiB. While 85 % of it, or of what the disk can
	// hold, is used, submits fail with engine.ErrStorageFull. 0 = only the disk limits them.
	Limit int64

	// Sync says what a power cut may lose of the streams in Dir. The zero value is SyncAlways: nothing.
	Sync SyncMode

	// Job names the run and makes it resumable; it matches [a-z0-9_-]{1,64}. A program that is run again under the same
	// name uses the results that earlier runs have recorded, and runs only the other tasks. It requires Dir. "" = an
	// unnamed run, whose tasks are dropped when it ends or is killed.
	Job string

	// JobTTL is how long an unfinished named job is kept after its last run. It requires Job. 0 = 7 days.
	JobTTL time.Duration

	// Agent says whether this process runs tasks. Without an agent, tasks are stored and wait for one.
	Agent AgentMode

	// Resources are the total resources of the tasks that the agent runs at the same time: "cpu" (default: GOMAXPROCS), "memory" in
	// bytes (default: the machine's memory), and any others by name, such as {"db": 1}. A resource that is not set
	// here keeps its default.
	Resources map[string]float64

	// ObjectMemory is how many bytes of large values (over 64 KiB) this process may keep in memory. Without a Job,
	// all large values are in memory; a named job stores them in Dir, and only those in use are in memory. Storing a value waits while
	// there is no space, and fails if none becomes free. In a named job, a task fails if its inputs exceed the limit.
	// 0 = a quarter of the machine's memory.
	ObjectMemory int64

	// Budget is how many bytes of values one call of engine.GetAll may return. 0 = a quarter of the machine's memory.
	Budget int64

	// NodeID is the name of the agent's node; it matches [a-z0-9_-]{1,64}. "" = the first label of the host name, with other
	// characters replaced by "-".
	NodeID string

	// Registry has the functions that the agent can run. nil = engine.DefaultRegistry().
	Registry *engine.Registry

	// Logger receives warnings and errors. nil = slog.Default().
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

// validate returns an error that names every invalid field. c must have its defaults.
func (c Config) validate() error {
	var f faults
	f.add("Namespace", queues.Names{Namespace: c.Namespace}.Check())
	f.add("NodeID", task.CheckName("node", c.NodeID))
	f.add("Listen", embedded.CheckListen(c.Listen))
	c.validateStorage(&f)
	if c.Job != "" {
		f.add("Job", task.CheckName("job", c.Job))
	}
	f.check(c.JobTTL >= 0, "JobTTL", "%s, want 0 or more", c.JobTTL)
	f.check(c.JobTTL == 0 || c.Job != "", "JobTTL", "it is how long a named job is kept, so it needs Job (flag -job)")
	f.check(c.ObjectMemory >= 0, "ObjectMemory", "%d bytes, want 0 or more", c.ObjectMemory)
	f.check(c.Budget >= 0, "Budget", "%d bytes, want 0 or more", c.Budget)
	r, err := task.NewResources(c.Resources)
	f.add("Resources", err)
	f.check(err != nil || c.Agent != AgentOn || r.Of(task.CPU) > 0,
		"Resources", "cpu is 0, and an agent needs CPUs: set more, or set Agent to AgentOff (flag -agent off)")
	f.check(c.Agent >= AgentAuto && c.Agent <= AgentOff, "Agent", "%d is not a mode, want AgentAuto, AgentOn or AgentOff", c.Agent)
	return errors.Join(f...)
}

// validateStorage looks at the fields that say where streams are stored.
func (c Config) validateStorage(f *faults) {
	f.check(c.Limit == 0 || c.Limit >= minLimit, "Limit", "%d bytes, want 0 (no limit), or %d or more", c.Limit, minLimit)
	f.check(c.Sync == SyncAlways || c.Sync == NoSyncForTwoMinutes,
		"Sync", "%d is not a mode, want SyncAlways or NoSyncForTwoMinutes", c.Sync)
	if c.Dir != "" {
		f.add("Dir", checkDir(c.Dir))
		return
	}
	f.check(c.Job == "", "Job", "a named job is stored in files, so it needs Dir (flag -dir)")
	f.check(c.Limit == 0, "Limit", "it applies to streams in files, so it needs Dir (flag -dir)")
	f.check(c.Sync == SyncAlways, "Sync", "it applies to streams in files, so it needs Dir (flag -dir)")
}

// checkDir returns an error if no directory can be at this path, since something else is there or above it. Whether it can be
// used is for the server to find.
func checkDir(path string) error {
	for at := filepath.Clean(path); ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		switch {
		case err == nil && info.IsDir():
			return nil
		case err == nil:
			return fmt.Errorf("%s is not a directory", at)
		}
		if link, linkErr := os.Readlink(at); linkErr == nil {
			return fmt.Errorf("%s is a symbolic link to %s, which cannot be opened (is its disk mounted?): %w", at, link, err)
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) || at == filepath.Dir(at) {
			return err
		}
	}
}

// faults are what is wrong with a Config.
type faults []error

// add notes an error, or each of those that were joined in it, of a field; nil is none.
func (f *faults) add(field string, err error) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, err := range joined.Unwrap() {
			f.add(field, err)
		}
	} else if err != nil {
		*f = append(*f, fmt.Errorf("invalid Config.%s: %w", field, err))
	}
}

// check notes what is wrong with a field unless it is ok.
func (f *faults) check(ok bool, field, format string, args ...any) {
	if !ok {
		f.add(field, fmt.Errorf(format, args...))
	}
}

// minLimit is the smallest Limit, in bytes: the server needs space for files of its own.
const minLimit = 32 << 20

var notInNames = regexp.MustCompile(`[^a-z0-9_-]+`)

// hostName returns the first label of the host name as a valid node name.
func hostName() string {
	host, _ := os.Hostname()
	host, _, _ = strings.Cut(strings.ToLower(host), ".")
	host = strings.Trim(notInNames.ReplaceAllString(host, "-"), "-")
	if host == "" {
		return "node"
	}
	return host[:min(len(host), 64)]
}

// totalMemory returns the machine's memory in bytes, 1 GiB if the system does not say.
func totalMemory() uint64 {
	total, err := platform.TotalMemory()
	if err != nil {
		return 1 << 30
	}
	return total
}
