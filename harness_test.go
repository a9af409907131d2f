package tidemill_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/tidemill/tidemill/engine/lease"
	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/engine/values"
	"github.com/tidemill/tidemill/objstore"
	"github.com/tidemill/tidemill/objstore/jetstream"
	"github.com/tidemill/tidemill/queues"
	"github.com/tidemill/tidemill/queues/embedded"
)

// victim is a named job whose program is killed and run again.
type victim struct {
	t       *testing.T
	program string
	args    []string
	dir     string // of the job's streams
	home    string // where the program leaves what it has seen
	name    string // of the job
	tasks   int    // that the program submits before it says that all are flushed; 0 if it does not say
	done    bool

	recorded   map[task.Digest]string // outcomes that were in the log when it was killed last
	executions map[int]int            // of each task, at that time

	runs, killed  int
	resumed       int // outcomes that the last run had from former ones
	lost, changed int
}

// result is what a task of testdata/killed returns. The nonce tells two executions apart.
type result struct {
	N     int
	Nonce string
	Rest  []byte
}

const victimTasks = 200

// newVictim returns a job of the program in testdata/killed.
func newVictim(t *testing.T, program string) *victim {
	home := t.TempDir()
	v := &victim{t: t, program: program, home: home, dir: filepath.Join(home, "dir"), name: "victim", tasks: victimTasks}
	v.args = []string{
		"-tasks", strconv.Itoa(v.tasks), "-runs", v.file("runs"), "-flushed", v.file("flushed"), "-seen", v.file("seen"),
	}
	return v
}

// newDemo returns the demo as a job, or as a plain run if it has no name.
func newDemo(t *testing.T, program, name string) *victim {
	home := t.TempDir()
	v := &victim{t: t, program: program, home: home, dir: filepath.Join(home, "dir"), name: name}
	root, err := filepath.Abs(*demos)
	check(t, err)
	v.args = []string{"-json", v.file("report"), root}
	return v
}

func (v *victim) file(name string) string { return filepath.Join(v.home, name) }

func (v *victim) command(env ...string) (*exec.Cmd, *bytes.Buffer) {
	v.runs++
	args := v.args
	if v.name != "" {
		args = append([]string{"-dir", v.dir, "-job", v.name}, args...)
	}
	cmd := exec.Command(v.program, args...)
	cmd.Env = append(os.Environ(), env...)
	var said bytes.Buffer
	cmd.Stderr = &said
	return cmd, &said
}

// killAt runs the job up to the place, if it comes there.
func (v *victim) killAt(place string, count int) {
	v.t.Helper()
	if !v.done {
		cmd, said := v.command(fmt.Sprintf("TIDEMILL_FAILPOINT=%s:%d", place, count))
		v.ended(cmd.Run(), said)
	}
}

// killAfter kills the job after a while, if it is not done by then.
func (v *victim) killAfter(after time.Duration) {
	v.t.Helper()
	if v.done {
		return
	}
	cmd, said := v.command()
	check(v.t, cmd.Start())
	timer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	v.ended(cmd.Wait(), said)
}

// interruptAfter interrupts the job when so many tasks have begun in this run, and reports whether it had
// not ended before.
func (v *victim) interruptAfter(tasks int) bool {
	v.t.Helper()
	before := v.begun()
	cmd, said := v.command()
	check(v.t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for v.begun() < before+tasks {
		select {
		case err := <-ended:
			if err != nil {
				v.t.Fatalf("%v\n%s", err, said)
			}
			return false
		case <-time.After(time.Millisecond):
		}
	}
	_ = cmd.Process.Signal(os.Interrupt) // it may just have ended
	err := <-ended
	if err == nil {
		return false
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		v.t.Fatalf("%v\n%s", err, said)
	}
	return true
}

// begun returns how often tasks have begun, in all runs.
func (v *victim) begun() (n int) {
	for _, count := range v.executionsNow() {
		n += count
	}
	return n
}

// recordedTask returns the outcome that was in the log when the job ended last.
func (v *victim) recordedTask(n int) (outcome string, ok bool) {
	for _, outcome := range v.recorded {
		if strings.HasPrefix(outcome, strconv.Itoa(n)+" ") {
			return outcome, true
		}
	}
	return "", false
}

// finish runs the job to its end.
func (v *victim) finish() {
	v.t.Helper()
	if !v.done {
		cmd, said := v.command()
		v.ended(cmd.Run(), said)
	}
	if !v.done {
		v.t.Fatal("the last run was killed")
	}
}

// ended looks at what a run has left.
func (v *victim) ended(err error, said *bytes.Buffer) {
	v.t.Helper()
	switch {
	case err == nil:
		v.done = true
		v.checkSeen()
	case wasKilled(err):
		v.killed++
		v.look()
	default:
		v.t.Fatalf("%v\n%s", err, said)
	}
}

// look reads what the killed run has left in files: what was recorded before is there as it was, what the
// program has seen was recorded, and what Flush has returned for is queued or recorded.
func (v *victim) look() {
	v.t.Helper()
	left := inspect(v.t, v.dir, v.name)
	if v.done = left.ended; v.done { // it was killed on its way out
		v.checkSeen()
		return
	}
	for digest, was := range v.recorded {
		v.holds(was, left.outcomes[digest], "in the log")
	}
	recorded := map[int]string{}
	for _, outcome := range left.outcomes {
		if n, err := strconv.Atoi(strings.Split(outcome, " ")[0]); err == nil {
			recorded[n] = outcome
		}
	}
	for n, seen := range v.seen() {
		v.holds(seen, recorded[n], "seen by its program")
	}
	if _, err := os.Stat(v.file("flushed")); err == nil && len(left.known) != v.tasks {
		v.lost += v.tasks - len(left.known)
		v.t.Errorf("all was flushed, and %d of %d tasks are there", len(left.known), v.tasks)
	}
	v.recorded, v.executions = left.outcomes, v.executionsNow()
}

// holds counts an outcome that is no more what it was.
func (v *victim) holds(was, now, what string) {
	switch {
	case now == "":
		v.lost++
		v.t.Errorf("an outcome %s is lost: %s", what, was)
	case now != was:
		v.changed++
		v.t.Errorf("an outcome %s was %s, and is %s", what, was, now)
	}
}

// seen returns the outcomes that the program has seen, by task: all of them, in all runs, must be equal.
func (v *victim) seen() map[int]string {
	text, err := os.ReadFile(v.file("seen"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		v.t.Fatal(err)
	}
	seen := map[int]string{}
	for line := range strings.Lines(string(text)) {
		if !strings.HasSuffix(line, "\n") {
			continue // it was being written
		}
		line = strings.TrimSpace(line)
		n, err := strconv.Atoi(strings.Split(line, " ")[0])
		check(v.t, err)
		if before := seen[n]; before != "" {
			v.holds(before, line, "seen by its program")
		}
		seen[n] = line
	}
	return seen
}

// checkSeen compares what the program has seen, when it is done, with what was recorded when it was killed
// last.
func (v *victim) checkSeen() {
	v.t.Helper()
	if v.tasks == 0 {
		return
	}
	seen, executions := v.seen(), v.executionsNow()
	if len(seen) != v.tasks {
		v.t.Errorf("%d results", len(seen))
	}
	for _, was := range v.recorded {
		n, err := strconv.Atoi(strings.Split(was, " ")[0])
		check(v.t, err)
		v.resumed++
		v.holds(was, seen[n], "in the log")
		if executions[n] != v.executions[n] {
			v.t.Errorf("task %d was recorded, and was executed again", n)
		}
	}
}

func (v *victim) executionsNow() map[int]int {
	text, err := os.ReadFile(v.file("runs"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		v.t.Fatal(err)
	}
	count := map[int]int{}
	for line := range strings.FieldsSeq(string(text)) {
		n, err := strconv.Atoi(line)
		check(v.t, err)
		count[n]++
	}
	return count
}

// report runs the demo to its end and returns its report, without what differs from run to run.
func (v *victim) report() map[string]any {
	v.t.Helper()
	v.finish()
	text, err := os.ReadFile(v.file("report"))
	check(v.t, err)
	var report map[string]any
	check(v.t, json.Unmarshal(text, &report))
	if n, ok := report["resumed"].(float64); ok {
		v.resumed = int(n)
	}
	for _, key := range []string{"resumed", "seconds", "tasksPerSecond"} {
		delete(report, key)
	}
	return report
}

// compare holds the demo's report against that of a run that was not killed.
func (v *victim) compare(want map[string]any) {
	v.t.Helper()
	got := v.report()
	for key := range maps.Keys(want) {
		if !reflect.DeepEqual(got[key], want[key]) {
			v.changed++
			v.t.Errorf("the report's %s: %v, want %v", key, got[key], want[key])
		}
	}
	if len(v.recorded) > 0 && v.resumed == 0 {
		v.t.Errorf("%d outcomes were recorded, and none was taken over", len(v.recorded))
	}
}

// remains are what a killed job has left in its files.
type remains struct {
	outcomes map[task.Digest]string
	known    map[task.Digest]bool // tasks that are queued or recorded
	ended    bool                 // the job
	values   values.Store
}

// inspect reads a copy of the job's files.
func inspect(t *testing.T, dir, job string) remains {
	t.Helper()
	left := remains{outcomes: map[task.Digest]string{}, known: map[task.Digest]bool{}}
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
	owner := job + "-1"
	if row, err := sessions.Get(t.Context(), owner); err == nil {
		var r lease.Row
		check(t, json.Unmarshal(row.Value, &r))
		left.ended = r.Ended
	}
	shelf, err := jetstream.Open(t.Context(), queues.Config{Namespace: "tm", Dialer: server, Storage: queues.Files, Logger: quiet}, jetstream.Config{})
	check(t, err)
	defer shelf.Close()
	left.values.Objects = objstore.NewStore(objstore.Config{Tier: shelf, Digests: true})
	left.readLog(t, b, owner)
	left.readQueues(t, b)
	return left
}

func (r *remains) readLog(t *testing.T, b *queues.Broker, owner string) {
	t.Helper()
	log, err := b.OpenLog(t.Context(), b.Log(owner))
	check(t, err)
	for e, err := range log.Read(t.Context(), 0) {
		check(t, err)
		var rec task.Record
		check(t, task.DecodeRecord(e.Data, &rec))
		for i := range rec.Entries {
			e := &rec.Entries[i]
			r.known[e.Digest] = true
			if e.State.Final() && r.outcomes[e.Digest] == "" {
				r.outcomes[e.Digest] = r.outcome(t, e)
			}
		}
	}
}

// outcome returns an entry as the killed program writes down what it has seen, if it is one of its.
func (r *remains) outcome(t *testing.T, e *task.Entry) string {
	v, _, err := r.values.Fetch(t.Context(), e.Value, math.MaxInt64)
	if err != nil {
		return fmt.Sprintf("%v, and %v", e.State, err)
	}
	var res result
	if cbor.Unmarshal(v.Data, &res) == nil && res.Nonce != "" {
		return fmt.Sprint(res.N, " ", res.Nonce)
	}
	return fmt.Sprintf("%v %x", e.State, v.Data)
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
