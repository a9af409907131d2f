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

// Node is an agent's row in the table of nodes. Written by nodeagent (announce), read by session (place).
type Node struct {
	ID        string         `json:"id"`
	Resources task.Resources `json:"resources"`
	Funcs     []string       `json:"funcs"`          // sorted
	Boot      string         `json:"boot,omitempty"` // boot ID of the embedded server; "" = an external server
	Instance  string         `json:"instance"`       // random ID of this agent; set by Announce
	Beat      uint64         `json:"beat"`           // counts writes of the row, so that each differs; set by Announce
	Lost      int            `json:"lost,omitempty"` // slots whose attempts ignore that their context has ended
	Idle      int            `json:"idle,omitempty"` // free CPUs for which the agent has no task
}

// BeatEvery is how often an agent writes its row. An agent that has not written it for LifeTime is taken for dead.
const (
	BeatEvery = 5 * time.Second
	LifeTime  = 3 * BeatEvery
)

// Nodes is a view of the table of nodes. It is safe for concurrent use.
type Nodes struct {
	watch   *queues.Watcher
	log     *slog.Logger
	changes atomic.Uint64 // see Changes; set under mu

	mu        sync.Mutex
	listeners map[*func()]bool // guarded by mu; see Notify
	nodes     map[string]Node  // guarded by mu; by ID
	idle      map[string]int   // guarded by mu; by ID: CPUs that a node has announced as idle, less those taken by TakeIdle
}

// WatchNodes returns a view that follows the table of nodes until Close. It has all present rows when WatchNodes returns.
func WatchNodes(ctx context.Context, b *queues.Broker, log *slog.Logger) (*Nodes, error) {
	table, err := b.OpenTable(ctx, b.Nodes())
	if err != nil {
		return nil, err
	}
	n := &Nodes{log: log, nodes: map[string]Node{}, idle: map[string]int{}, listeners: map[*func()]bool{}}
	if n.watch, err = table.Watch(ctx, n.row); err != nil {
		return nil, err
	}
	return n, nil
}

// Notify has f called after each change of a row, until stop is called: on a goroutine of the view, one call at a time.
func (n *Nodes) Notify(f func()) (stop func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.listeners[&f] = true
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.listeners, &f)
	}
}

// Close ends the view.
func (n *Nodes) Close() { n.watch.Stop() }

// row applies a row to the view and calls the listeners.
func (n *Nodes) row(r queues.Row) {
	n.apply(r)
	n.mu.Lock()
	listeners := slices.Collect(maps.Keys(n.listeners))
	n.mu.Unlock()
	for _, f := range listeners {
		(*f)()
	}
}

func (n *Nodes) apply(r queues.Row) {
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
		err = fmt.Errorf("its id is %q", node.ID)
	}
	if err == nil {
		err = node.Resources.Check()
	}
	if err != nil {
		n.log.Warn("directory: ignoring the invalid row of a node", "node", r.Key, "err", err)
		return
	}
	if old := n.nodes[r.Key]; !old.same(node) {
		n.changes.Add(1)
	}
	n.nodes[r.Key], n.idle[r.Key] = node, node.Idle
}

// same reports whether two rows of a node are equal in all that decides where tasks may run.
func (a Node) same(b Node) bool {
	return a.Boot == b.Boot && a.Instance == b.Instance && a.Lost == b.Lost && slices.Equal(a.Resources, b.Resources) && slices.Equal(a.Funcs, b.Funcs)
}

// TakeIdle claims at most so many of the CPUs that nodes other than except have announced as idle, and returns how many it
// has claimed. Each announced CPU is claimed at most once by this view; other views may claim it, too.
func (n *Nodes) TakeIdle(except string, most int) (cpus int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for id, idle := range n.idle {
		if id != except {
			took := min(idle, most-cpus)
			n.idle[id] -= took
			cpus += took
		}
	}
	return cpus
}

// Idle returns how many CPUs TakeIdle can claim.
func (n *Nodes) Idle(except string) (cpus int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for id, idle := range n.idle {
		if id != except {
			cpus += idle
		}
	}
	return cpus
}

// FitBeside reports whether the shape fits into some node, if on the node with this ID so much is taken already.
func (n *Nodes) FitBeside(shape task.Resources, id string, taken task.Resources) bool {
	if len(taken) == 0 {
		return true // that it fits into an idle node was checked before
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

// Changes counts changes of what decides where tasks may run. A decision that was made at another count must be made again.
func (n *Nodes) Changes() uint64 { return n.changes.Load() }

// Count returns the number of nodes.
func (n *Nodes) Count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.nodes)
}

// Slots returns how many tasks of this shape can run at a time: total over all nodes, if they run nothing else.
func (n *Nodes) Slots(shape task.Resources) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	slots := 0
	for _, node := range n.nodes {
		slots += shape.Times(node.Resources)
	}
	return slots
}

// Funcs returns the names of all functions that at least one node has, sorted.
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

// Has reports whether at least one node has the function.
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

// Fitting returns the node with the most CPUs among those that the shape fits into. ok is false if it fits into none.
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
