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
		t.Fatal(err)
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

// until looks again after each change of the view until it holds.
func until(t *testing.T, b *queues.Broker, holds func() bool) {
	t.Helper()
	table, err := b.OpenTable(t.Context(), b.Nodes())
	check(t, err)
	for i := 0; !holds(); i++ {
		if _, err := table.Get(t.Context(), "n1"); err != nil && !errors.Is(err, queues.ErrNoRow) { // a round trip to wait for
			t.Fatal(err)
		}
		if i > 10_000 {
			t.Fatal("the view does not follow")
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
		t.Errorf("at first: %+v", view.All())
	}
	changes := view.Changes()
	row, err := directory.Announce(t.Context(), b, node(t, "n2", 4, "g"))
	check(t, err)
	until(t, b, func() bool { return view.Count() == 2 })
	if view.Changes() == changes {
		t.Error("no change was counted")
	}
	one := task.Resources{{Name: task.CPU, Value: 1000}}
	three := task.Resources{{Name: task.CPU, Value: 3000}}
	if view.Slots(one) != 6 || view.Slots(three) != 1 || !slices.Equal(view.Funcs(), []string{"f", "g"}) {
		t.Errorf("%d and %d slots, functions %v", view.Slots(one), view.Slots(three), view.Funcs())
	}
	if largest, ok := view.Fitting(one); !ok || largest.ID != "n2" {
		t.Errorf("largest %+v", largest)
	}
	check(t, row.Update(t.Context(), node(t, "n2", 4, "h")))
	until(t, b, func() bool { return view.Has("h") })
	check(t, row.Withdraw(t.Context()))
	until(t, b, func() bool { return view.Count() == 1 })
	if _, ok := view.Fitting(three); ok {
		t.Error("three CPUs fit into a node that is gone")
	}
}

// A node ID is taken while its agent writes its row; when it does not any more, or was of another boot of
// the server, another agent may have it.
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
			t.Errorf("got %v", err)
		}
		begun := time.Now()
		_, err = directory.Announce(t.Context(), b, node(t, "n1", 4))
		check(t, err)
		if waited := time.Since(begun); waited < directory.LifeTime {
			t.Errorf("taken over after %s", waited)
		}
		if err := row.Update(t.Context(), node(t, "n1", 2)); !errors.Is(err, directory.ErrReplaced) {
			t.Errorf("the former agent's row: %v", err)
		}
		begun = time.Now()
		other := node(t, "n1", 4)
		other.Boot = "another"
		_, err = directory.Announce(t.Context(), b, other)
		check(t, err)
		if waited := time.Since(begun); waited > time.Second {
			t.Errorf("a row of another boot was watched for %s", waited)
		}
	})
}

// What nobody can have written is not believed, and said.
func TestRowsThatCannotBeAreLeftOut(t *testing.T) {
	b := connect(t)
	table, err := b.OpenTable(t.Context(), b.Nodes())
	check(t, err)
	rows := []string{
		"", "{", `{"id":"other"}`, `{"id":"n","resources":[{"Name":"cpu","Value":-1}]}`,
		`{"id":"n","resources":[{"Name":"cpu","Value":9223372036854775807}]}`,
		`{"id":"n","resources":[{"Name":"ssd","Value":1},{"Name":"cpu","Value":1}]}`,
	}
	var said bytes.Buffer
	view, err := directory.WatchNodes(t.Context(), b, slog.New(slog.NewTextHandler(&said, nil)))
	check(t, err)
	for _, row := range rows {
		_, err := table.Put(t.Context(), "n", []byte(row))
		check(t, err)
	}
	_, err = directory.Announce(t.Context(), b, node(t, "n1", 2))
	check(t, err)
	until(t, b, func() bool { return view.Count() > 0 })
	view.Close()
	if all := view.All(); len(all) != 1 || all[0].ID != "n1" {
		t.Errorf("%+v", all)
	}
	if n := strings.Count(said.String(), "row of a node"); n != len(rows) {
		t.Errorf("%d of %d were said:\n%s", n, len(rows), &said)
	}
}
