package directory_test

import (
	"bytes"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server/ats"

	"github.com/tidemill/tidemill/engine/directory"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/queues"
	"github.com/tidemill/tidemill/queues/embedded"
)

// The server's clock for message ages must run outside of every bubble of virtual time.
func TestMain(m *testing.M) {
	ats.Register()
	m.Run()
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("got error %v, want none", err)
	}
}

func connect(t *testing.T) *queues.Broker {
	t.Helper()
	server, err := embedded.Start(embedded.Config{})
	check(t, err)
	t.Cleanup(server.Close)
	b, err := queues.Connect(queues.Config{Namespace: "tm", Dialer: server})
	check(t, err)
	t.Cleanup(b.Close)
	return b
}

func node(t *testing.T, id string, cpus float64, funcs ...string) directory.Node {
	t.Helper()
	r, err := task.NewResources(map[string]float64{"cpu": cpus, "memory": 1 << 30})
	check(t, err)
	return directory.Node{ID: id, Resources: r, Funcs: funcs}
}

// waitFor waits until the view has followed the table so far that holds returns true. Each round takes a round trip to
// the server.
func waitFor(t *testing.T, b *queues.Broker, what string, holds func() bool) {
	t.Helper()
	table, err := b.OpenTable(t.Context(), b.Nodes())
	check(t, err)
	const most = 10_000
	for round := 0; !holds(); round++ {
		if round == most {
			t.Fatalf("after %d round trips: waited for %s", most, what)
		}
		if _, err := table.Get(t.Context(), "n1"); err != nil && !errors.Is(err, queues.ErrNoRow) {
			t.Fatalf("get row n1: got %v, want nil or %v", err, queues.ErrNoRow)
		}
	}
}

func TestTheViewFollowsTheNodes(t *testing.T) {
	b := connect(t)
	_, err := directory.Announce(t.Context(), b, node(t, "n1", 2, "f", "g"))
	check(t, err)
	view, err := directory.WatchNodes(t.Context(), b, slog.Default())
	check(t, err)
	defer view.Close()
	if view.Count() != 1 || !view.Has("f") || view.Has("h") {
		t.Errorf("at first: got %+v, want n1 with f and g", view.All())
	}
	changes := view.Changes()
	row, err := directory.Announce(t.Context(), b, node(t, "n2", 4, "g"))
	check(t, err)
	waitFor(t, b, "two nodes in the view", func() bool { return view.Count() == 2 })
	if got := view.Changes(); got <= changes {
		t.Errorf("changes after a new node: got %d, want more than %d", got, changes)
	}
	one := task.Resources{{Name: task.CPU, Value: 1000}}
	three := task.Resources{{Name: task.CPU, Value: 3000}}
	if view.Slots(one) != 6 || view.Slots(three) != 1 {
		t.Errorf("slots of one and of three CPUs: got %d and %d, want 6 and 1", view.Slots(one), view.Slots(three))
	}
	if got, want := view.Funcs(), []string{"f", "g"}; !slices.Equal(got, want) {
		t.Errorf("functions: got %q, want %q", got, want)
	}
	if largest, ok := view.Fitting(one); !ok || largest.ID != "n2" {
		t.Errorf("the largest node for one CPU: got %q, %t, want n2, true", largest.ID, ok)
	}
	check(t, row.Update(t.Context(), node(t, "n2", 4, "h")))
	waitFor(t, b, "function h in the view", func() bool { return view.Has("h") })
	check(t, row.Withdraw(t.Context()))
	waitFor(t, b, "one node in the view", func() bool { return view.Count() == 1 })
	if fits, ok := view.Fitting(three); ok {
		t.Errorf("the node that three CPUs fit into, after n2 was withdrawn: got %q, want none", fits.ID)
	}
}

// While an agent writes its row, no other agent can announce itself under the same node ID. After LifeTime without a
// write, or after another boot of the server, it can.
func TestANodeIDIsTakenWhileItsAgentLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := connect(t)
		row, err := directory.Announce(t.Context(), b, node(t, "n1", 2))
		check(t, err)
		alive := time.NewTicker(directory.BeatEvery)
		defer alive.Stop()
		taken := make(chan error, 1)
		go func() {
			_, err := directory.Announce(t.Context(), b, node(t, "n1", 2))
			taken <- err
		}()
		<-alive.C
		check(t, row.Update(t.Context(), node(t, "n1", 2)))
		if err := <-taken; !errors.Is(err, directory.ErrNodeTaken) {
			t.Errorf("announce a second agent while the first writes its row: got %v, want %v", err, directory.ErrNodeTaken)
		}
		begun := time.Now()
		_, err = directory.Announce(t.Context(), b, node(t, "n1", 4))
		check(t, err)
		if waited := time.Since(begun); waited < directory.LifeTime {
			t.Errorf("the row of a silent agent was taken over after %s, want at least %s", waited, directory.LifeTime)
		}
		if err := row.Update(t.Context(), node(t, "n1", 2)); !errors.Is(err, directory.ErrReplaced) {
			t.Errorf("update by the former agent: got %v, want %v", err, directory.ErrReplaced)
		}
		begun = time.Now()
		other := node(t, "n1", 4)
		other.Boot = "another"
		_, err = directory.Announce(t.Context(), b, other)
		check(t, err)
		if waited := time.Since(begun); waited > time.Second {
			t.Errorf("the row of another boot was taken over after %s, want at most %s", waited, time.Second)
		}
	})
}

// A row that no agent can have written is ignored, with a warning.
func TestInvalidRowsAreIgnored(t *testing.T) {
	b := connect(t)
	table, err := b.OpenTable(t.Context(), b.Nodes())
	check(t, err)
	rows := []string{
		"", "{", `{"id":"other"}`, `{"id":"n","resources":[{"Name":"cpu","Value":-1}]}`,
		`{"id":"n","resources":[{"Name":"cpu","Value":9223372036854775807}]}`,
		`{"id":"n","resources":[{"Name":"ssd","Value":1},{"Name":"cpu","Value":1}]}`,
	}
	var logged bytes.Buffer
	view, err := directory.WatchNodes(t.Context(), b, slog.New(slog.NewTextHandler(&logged, nil)))
	check(t, err)
	for _, row := range rows {
		_, err := table.Put(t.Context(), "n", []byte(row))
		check(t, err)
	}
	_, err = directory.Announce(t.Context(), b, node(t, "n1", 2))
	check(t, err)
	waitFor(t, b, "n1 in the view", func() bool { return view.Count() > 0 })
	view.Close()
	if all := view.All(); len(all) != 1 || all[0].ID != "n1" {
		t.Errorf("nodes: got %+v, want n1 alone", all)
	}
	if n := strings.Count(logged.String(), "invalid row of a node"); n != len(rows) {
		t.Errorf("warnings: got %d, want %d:\n%s", n, len(rows), &logged)
	}
}

// Each CPU that other nodes have announced as idle can be claimed once. The row of the node itself does not count.
func TestIdleCPUsAreClaimedOnce(t *testing.T) {
	b := connect(t)
	for id, idle := range map[string]int{"n1": 4, "n2": 2, "n3": 1} {
		n := node(t, id, 4)
		n.Idle = idle
		_, err := directory.Announce(t.Context(), b, n)
		check(t, err)
	}
	view, err := directory.WatchNodes(t.Context(), b, slog.Default())
	check(t, err)
	defer view.Close()
	for _, want := range []struct{ before, claimed int }{{3, 2}, {1, 1}, {0, 0}} {
		if got := view.Idle("n1"); got != want.before {
			t.Errorf("idle CPUs beside those of n1: got %d, want %d", got, want.before)
		}
		if got := view.TakeIdle("n1", 2); got != want.claimed {
			t.Errorf("claim two CPUs: got %d, want %d", got, want.claimed)
		}
	}
	if got := view.Idle(""); got != 4 {
		t.Errorf("idle CPUs: got %d, want the 4 of n1", got)
	}
}
