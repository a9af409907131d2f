package directory

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/queues"
)

// Node is what an agent says of itself. Written by nodeagent (announce), read by session (place).
type Node struct {
	ID        string         `json:"id"`
	Resources task.Resources `json:"resources"`
	Funcs     []string       `json:"funcs"`          // sorted
	Boot      string         `json:"boot,omitempty"` // of the embedded server; "" = of a server that lives on its own
	Instance  string         `json:"instance"`       // of this agent alone; set by Announce
	Beat      uint64         `json:"beat"`           // grows while the agent lives
	Lost      int            `json:"lost,omitempty"` // slots whose tasks ignore that they are to end
	Idle      int            `json:"idle,omitempty"` // CPUs that are free, with nothing here to be run
}

// BeatEvery is how often an agent writes its row. One that did not for LifeTime is gone.
const (
	BeatEvery = 5 * time.Second
	LifeTime  = 3 * BeatEvery
)

// Nodes is a view of the nodes that live. It is safe for concurrent use.
type Nodes struct {
	watch   *queues.Watcher
	log     *slog.Logger
	changes atomic.Uint64

	mu    sync.Mutex
	told  map[*func()]bool // guarded by mu; who is called after changes
	nodes map[string]Node  // guarded by mu
	idle  map[string]int   // guarded by mu; CPUs that each node has told to be idle, and nobody here has sent work for
}

// WatchNodes returns a view that follows the table of nodes until Close. Rows that are there already are
// in it when WatchNodes returns.
func WatchNodes(ctx context.Context, b *queues.Broker, log *slog.Logger) (*Nodes, error) {
	table, err := b.OpenTable(ctx, b.Nodes())
	if err != nil {
		return nil, err
	}
	n := &Nodes{log: log, nodes: map[string]Node{}, idle: map[string]int{}, told: map[*func()]bool{}}
	if n.watch, err = table.Watch(ctx, n.row); err != nil {
		return nil, err
	}
	return n, nil
}

// Notify has f called after each row that comes, on the connection's goroutine, until stop is called.
func (n *Nodes) Notify(f func()) (stop func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.told[&f] = true
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.told, &f)
	}
}

// Close ends the view.
func (n *Nodes) Close() { n.watch.Stop() }

func (n *Nodes) row(r queues.Row) {
	n.take(r)
	n.mu.Lock()
	told := slices.Collect(maps.Keys(n.told))
	n.mu.Unlock()
	for _, f := range told {
		(*f)()
	}
}

func (n *Nodes) take(r queues.Row) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if r.Deleted {
		delete(n.nodes, r.Key)
		delete(n.idle, r.Key)
		n.changes.Add(1)
		return
	}
	var node Node
	err := json.Unmarshal(r.Value, &node)
	if err == nil && node.ID != r.Key {
		err = fmt.Errorf("it names %q", node.ID)
	}
	if err == nil {
		err = node.Resources.Check()
	}
	if err != nil {
		n.log.Warn("directory: row of a node", "node", r.Key, "err", err)
		return
	}
	if old := n.nodes[r.Key]; !old.same(node) {
		n.changes.Add(1)
	}
	n.nodes[r.Key], n.idle[r.Key] = node, node.Idle
}

// same reports whether two rows say the same of where tasks may run.
func (a Node) same(b Node) bool {
	return a.Boot == b.Boot && a.Instance == b.Instance && a.Lost == b.Lost && slices.Equal(a.Resources, b.Resources) && slices.Equal(a.Funcs, b.Funcs)
}

// TakeIdle takes up to so many of the CPUs that other nodes than this one have told to be idle, and returns how many
// that are. A CPU that is told once is taken once; others may have been told, too.
func (n *Nodes) TakeIdle(but string, most int) (cpus int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for id, idle := range n.idle {
		if id != but {
			took := min(idle, most-cpus)
			n.idle[id] -= took
			cpus += took
		}
	}
	return cpus
}

// Idle returns how many CPUs TakeIdle would return.
func (n *Nodes) Idle(but string) (cpus int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for id, idle := range n.idle {
		if id != but {
			cpus += idle
		}
	}
	return cpus
}

// FitBeside reports whether a node has room for the shape, where one of them is the given one and has so much taken.
func (n *Nodes) FitBeside(shape task.Resources, id string, taken task.Resources) bool {
	if len(taken) == 0 {
		return true // it was looked at already
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, node := range n.nodes {
		has := node.Resources
		if node.ID == id {
			has = has.Less(taken)
		}
		if shape.Fits(has) {
			return true
		}
	}
	return false
}

// Changes counts the changes of the view: what was decided at another count is to be decided again.
func (n *Nodes) Changes() uint64 { return n.changes.Load() }

// Count returns how many nodes there are.
func (n *Nodes) Count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.nodes)
}

// Slots returns how many tasks of this shape the nodes can run at a time, together.
func (n *Nodes) Slots(shape task.Resources) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	slots := 0
	for _, node := range n.nodes {
		slots += shape.Times(node.Resources)
	}
	return slots
}

// Funcs returns the names of all functions that some node has, sorted.
func (n *Nodes) Funcs() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var names []string
	for _, node := range n.nodes {
		names = append(names, node.Funcs...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Has reports whether some node has the function.
func (n *Nodes) Has(fn string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, node := range n.nodes {
		if _, ok := slices.BinarySearch(node.Funcs, fn); ok {
			return true
		}
	}
	return false
}

// Fitting returns the node with the most CPUs of those that the shape fits into. ok is false if it fits
// into none.
func (n *Nodes) Fitting(shape task.Resources) (largest Node, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, node := range n.nodes {
		if shape.Fits(node.Resources) && (!ok || node.Resources.Of(task.CPU) > largest.Resources.Of(task.CPU)) {
			largest, ok = node, true
		}
	}
	return largest, ok
}

// All returns the nodes, sorted by ID.
func (n *Nodes) All() []Node {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := make([]Node, 0, len(n.nodes))
	for _, node := range n.nodes {
		all = append(all, node)
	}
	slices.SortFunc(all, func(a, b Node) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	return all
}
