package tidemill_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/queues"
	"github.com/tidemill/tidemill/queues/embedded"
)

var kills = flag.Int("kills", 1, "how often TestKilledAtEachPlace tries each place, and TestKilledAtAnyTime kills for each of ten")

// places are where failpoints stand.
var places = []string{
	"publish.before", "publish.after", "deliver.before", "deliver.after", "store.before", "store.after",
	"record.before", "record.after", "ack.before", "ack.after", "fold.before", "fold.after", "lease.before", "lease.after",
}

// TestKilledAtEachPlace runs a named job that is killed by SIGKILL at a place in the code, and runs it
// again: nothing that was acknowledged is lost, no outcome that was recorded changes, and what had one is
// not executed again.
func TestKilledAtEachPlace(t *testing.T) {
	program := buildKilled(t)
	table := tally{}
	for _, place := range places {
		for range *kills {
			v := newVictim(t, program)
			hit := v.killAt(t, place, 1+rand.IntN(3))
			hit = v.killAt(t, place, 1+rand.IntN(2)) || hit
			v.finish(t)
			table.add(place, hit, v)
		}
	}
	table.check(t)
}

// TestKilledAtAnyTime kills the job at random times instead.
func TestKilledAtAnyTime(t *testing.T) {
	program := buildKilled(t)
	table := tally{}
	for range *kills {
		v := newVictim(t, program)
		hit := false
		for range 10 {
			hit = v.killAfter(t, time.Duration(20+rand.IntN(200))*time.Millisecond) || hit
		}
		v.finish(t)
		table.add("any time", hit, v)
	}
	table.check(t)
}

func buildKilled(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "killed")
	if out, err := exec.Command("go", "build", "-tags", "failpoints", "-o", path, "./testdata/killed").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// victim is a job, run again and again.
type victim struct {
	program, home string
	recorded      map[int]result // outcomes that were recorded when it was killed last, by task
	executions    map[int]int    // at that time
	killed        int
	done          bool
	resumed       int // outcomes that the last run had from former ones
}

type result struct {
	N     int
	Nonce string
}

const victimTasks = 200

func newVictim(t *testing.T, program string) *victim {
	return &victim{program: program, home: t.TempDir()}
}

func (v *victim) file(name string) string { return filepath.Join(v.home, name) }

func (v *victim) command(env ...string) (*exec.Cmd, *bytes.Buffer) {
	cmd := exec.Command(v.program, "-dir", v.file("dir"), "-job", "victim", "-tasks", strconv.Itoa(victimTasks),
		"-runs", v.file("runs"), "-flushed", v.file("flushed"), "-out", v.file("out"))
	cmd.Env = append(os.Environ(), env...)
	var said bytes.Buffer
	cmd.Stderr = &said
	return cmd, &said
}

// killAt runs the job up to the place, if it comes there, and reports whether it did.
func (v *victim) killAt(t *testing.T, place string, count int) bool {
	t.Helper()
	if v.done {
		return false
	}
	cmd, said := v.command(fmt.Sprintf("TIDEMILL_FAILPOINT=%s:%d", place, count))
	return v.died(t, cmd.Run(), said)
}

// killAfter kills the job after a while, if it is not done by then.
func (v *victim) killAfter(t *testing.T, after time.Duration) bool {
	t.Helper()
	if v.done {
		return false
	}
	cmd, said := v.command()
	check(t, cmd.Start())
	timer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	return v.died(t, cmd.Wait(), said)
}

// died looks at what a run has left, and reports whether it was killed.
func (v *victim) died(t *testing.T, err error, said *bytes.Buffer) bool {
	t.Helper()
	var exit *exec.ExitError
	switch {
	case err == nil:
		v.done = true
		v.checkResults(t)
		return false
	case !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL:
		t.Fatalf("%v\n%s", err, said)
	}
	v.killed++
	v.look(t)
	return true
}

// look reads what the killed run has left in files: what was recorded before is there as it was, and what
// Flush has returned for is queued or recorded.
func (v *victim) look(t *testing.T) {
	t.Helper()
	left := inspect(t, v.file("dir"))
	if v.done = left.ended; v.done { // it was killed on its way out
		v.checkResults(t)
		return
	}
	for n, was := range v.recorded {
		if now, ok := left.recorded[n]; !ok || now != was {
			t.Errorf("task %d was recorded as %+v, and is %+v", n, was, now)
		}
	}
	if _, err := os.Stat(v.file("flushed")); err == nil && len(left.known) != victimTasks {
		t.Errorf("all was flushed, and %d of %d tasks are there", len(left.known), victimTasks)
	}
	v.recorded, v.executions = left.recorded, v.executionsNow(t)
}

func (v *victim) executionsNow(t *testing.T) map[int]int {
	t.Helper()
	text, err := os.ReadFile(v.file("runs"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	count := map[int]int{}
	for line := range strings.FieldsSeq(string(text)) {
		n, err := strconv.Atoi(line)
		check(t, err)
		count[n]++
	}
	return count
}

// finish runs the job to its end.
func (v *victim) finish(t *testing.T) {
	t.Helper()
	if v.done {
		return
	}
	cmd, said := v.command()
	if err := cmd.Run(); err != nil {
		t.Fatalf("the last run: %v\n%s", err, said)
	}
	v.done = true
	v.checkResults(t)
}

// checkResults compares the results with what was recorded when the job was killed last.
func (v *victim) checkResults(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile(v.file("out"))
	check(t, err)
	var results []result
	check(t, json.Unmarshal(text, &results))
	if len(results) != victimTasks {
		t.Fatalf("%d results", len(results))
	}
	executions := v.executionsNow(t)
	for n, r := range results {
		was, recorded := v.recorded[n]
		switch {
		case r.N != n:
			t.Errorf("task %d has the result %+v", n, r)
		case recorded && r != was:
			t.Errorf("task %d was recorded as %+v, and its result is %+v", n, was, r)
		case recorded && executions[n] != v.executions[n]:
			t.Errorf("task %d was recorded, and was executed again", n)
		case recorded:
			v.resumed++
		}
	}
}

// remains are what a killed job has left in its files.
type remains struct {
	recorded map[int]result       // results that are outcomes
	known    map[task.Digest]bool // tasks that are queued or recorded
	ended    bool                 // the job
}

// inspect reads a copy of the job's files.
func inspect(t *testing.T, dir string) remains {
	t.Helper()
	left := remains{recorded: map[int]result{}, known: map[task.Digest]bool{}}
	copied := filepath.Join(t.TempDir(), "dir")
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return left
	}
	check(t, os.CopyFS(copied, os.DirFS(dir)))
	quiet := slog.New(slog.DiscardHandler)
	server, err := embedded.Start(embedded.Config{Dir: copied, Sync: embedded.NoSyncForTwoMinutes, Logger: quiet})
	check(t, err)
	defer server.Close()
	b, err := queues.Connect(queues.Config{Namespace: "tm", Dialer: server, Storage: queues.Files, Logger: quiet})
	check(t, err)
	defer b.Close()
	sessions, err := b.OpenTable(t.Context(), b.Sessions())
	check(t, err)
	if row, err := sessions.Get(t.Context(), "victim-1"); err == nil {
		var r session.Row
		check(t, json.Unmarshal(row.Value, &r))
		left.ended = r.Ended
	}
	left.readLog(t, b)
	left.readQueues(t, b)
	return left
}

func (r *remains) readLog(t *testing.T, b *queues.Broker) {
	t.Helper()
	log, err := b.OpenLog(t.Context(), b.Log("victim-1"))
	check(t, err)
	ended := map[task.Digest]bool{}
	for e, err := range log.Read(t.Context(), 0) {
		check(t, err)
		var rec task.Record
		check(t, task.DecodeRecord(e.Data, &rec))
		for _, e := range rec.Entries {
			r.known[e.Digest] = true
			if !e.State.Final() || ended[e.Digest] {
				continue
			}
			ended[e.Digest] = true
			var v result
			check(t, cbor.Unmarshal(e.Value.Data, &v))
			r.recorded[v.N] = v
		}
	}
}

func (r *remains) readQueues(t *testing.T, b *queues.Broker) {
	t.Helper()
	table, err := b.OpenTable(t.Context(), b.Classes())
	check(t, err)
	rows, err := table.All(t.Context())
	check(t, err)
	for _, row := range rows {
		class, level, _ := session.ParseClassKey(row.Key)
		queue, err := b.OpenQueue(t.Context(), b.Batches(string(class), string(level)))
		check(t, err)
		for m, err := range queue.List(t.Context()) {
			check(t, err)
			var batch task.Batch
			check(t, task.DecodeBatch(m.Data, &batch))
			for _, spec := range batch.Specs {
				r.known[spec.Digest] = true
			}
		}
	}
}

// tally is a table of what was tried.
type tally map[string]*tallied

type tallied struct{ runs, kills, resumed int }

func (t tally) add(place string, hit bool, v *victim) {
	if t[place] == nil {
		t[place] = &tallied{}
	}
	t[place].runs++
	t[place].resumed += v.resumed
	if hit {
		t[place].kills += v.killed
	}
}

// check prints the table, and fails if a place was never reached.
func (t tally) check(test *testing.T) {
	test.Helper()
	var table strings.Builder
	fmt.Fprintf(&table, "%-16s %6s %6s %9s %5s %8s\n", "place", "jobs", "kills", "resumed", "lost", "changed")
	for _, place := range append(places, "any time") {
		if row := t[place]; row != nil {
			fmt.Fprintf(&table, "%-16s %6d %6d %9d %5d %8d\n", place, row.runs, row.kills, row.resumed, 0, 0)
		}
	}
	test.Logf("a job that loses a task, or changes an outcome, fails this test\n%s", table.String())
	for place := range maps.Keys(t) {
		if t[place].kills == 0 {
			test.Errorf("%s was never reached", place)
		}
	}
}
