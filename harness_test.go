//go:build unix

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

// harness runs the program of a named job, kills it and runs it again, and checks what each run has left.
type harness struct {
	t       *testing.T
	program string   // path of the executable
	args    []string // arguments after those that name the job
	dir     string   // directory of the job's streams
	home    string   // directory of the files that the program writes
	name    string   // name of the job; "" = the program runs without a job
	tasks   int      // how many tasks the program submits before it writes the file "flushed"; 0 = it writes none
	done    bool     // the program has come to its end

	recorded   map[task.Digest]string // outcomes that were in the log after the last kill
	executions map[int]int            // how often each task had been executed by then

	runs, killed  int // runs in all; those that were killed
	resumed       int // outcomes that the last run took over from former runs
	lost, changed int // outcomes or tasks that were lost; outcomes that changed
}

// result is what a task of testdata/killed returns. The nonce differs between two executions of a task.
type result struct {
	N     int
	Nonce string
	Rest  []byte
}

const killedTasks = 200

// newHarness returns the harness of a job that runs the program in testdata/killed.
func newHarness(t *testing.T, program string) *harness {
	home := t.TempDir()
	h := &harness{t: t, program: program, home: home, dir: filepath.Join(home, "dir"), name: "killed", tasks: killedTasks}
	h.args = []string{
		"-tasks", strconv.Itoa(h.tasks), "-runs", h.file("runs"), "-flushed", h.file("flushed"), "-seen", h.file("seen"),
	}
	return h
}

// newDemo returns the harness of the demo, as a job of this name, or without a job if the name is empty.
func newDemo(t *testing.T, program, name string) *harness {
	home := t.TempDir()
	h := &harness{t: t, program: program, home: home, dir: filepath.Join(home, "dir"), name: name}
	root, err := filepath.Abs(*demos)
	check(t, err)
	h.args = []string{"-json", h.file("report"), root}
	return h
}

func (h *harness) file(name string) string { return filepath.Join(h.home, name) }

// command returns the command of the next run, and the buffer for its standard error.
func (h *harness) command(env ...string) (*exec.Cmd, *bytes.Buffer) {
	h.runs++
	args := h.args
	if h.name != "" {
		args = append([]string{"-dir", h.dir, "-job", h.name}, args...)
	}
	cmd := exec.Command(h.program, args...)
	cmd.Env = append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	return cmd, &stderr
}

// killAt runs the job until it has come to the place so many times and kills itself, or until it ends.
func (h *harness) killAt(place string, count int) {
	h.t.Helper()
	if !h.done {
		cmd, stderr := h.command(fmt.Sprintf("TIDEMILL_FAILPOINT=%s:%d", place, count))
		h.ended(cmd.Run(), stderr)
	}
}

// killAfter runs the job and kills it after a while, unless it has ended by then.
func (h *harness) killAfter(after time.Duration) {
	h.t.Helper()
	if h.done {
		return
	}
	cmd, stderr := h.command()
	check(h.t, cmd.Start())
	timer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	h.ended(cmd.Wait(), stderr)
}

// interruptAfter runs the job and interrupts it when so many tasks have begun in this run. It reports whether the run was
// interrupted; else the job has ended.
func (h *harness) interruptAfter(tasks int) bool {
	h.t.Helper()
	before := h.begun()
	cmd, stderr := h.command()
	check(h.t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tooLong := time.After(time.Minute)
	for h.begun() < before+tasks {
		select {
		case err := <-ended:
			if err != nil {
				h.t.Fatalf("the run ended with %v, want no error\n%s", err, stderr)
			}
			return false
		case <-tooLong:
			_ = cmd.Process.Kill()
			err := <-ended
			h.t.Fatalf("after a minute, %d tasks had begun in this run, want %d; it was killed: %v\n%s", h.begun()-before, tasks, err, stderr)
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
		h.t.Fatalf("the interrupted run ended with %v, want exit status 1\n%s", err, stderr)
	}
	return true
}

// begun returns how many executions of tasks have begun, in all runs.
func (h *harness) begun() (n int) {
	for _, count := range h.executionsNow() {
		n += count
	}
	return n
}

// recordedTask returns the outcome of a task that was in the log after the last run.
func (h *harness) recordedTask(n int) (outcome string, ok bool) {
	for _, outcome := range h.recorded {
		if strings.HasPrefix(outcome, strconv.Itoa(n)+" ") {
			return outcome, true
		}
	}
	return "", false
}

// finish runs the job to its end.
func (h *harness) finish() {
	h.t.Helper()
	if !h.done {
		cmd, stderr := h.command()
		h.ended(cmd.Run(), stderr)
	}
	if !h.done {
		h.t.Fatal("the last run was killed, want it to come to its end")
	}
}

// ended checks what a run has left that ended with err.
func (h *harness) ended(err error, stderr *bytes.Buffer) {
	h.t.Helper()
	switch {
	case err == nil:
		h.done = true
		h.checkSeen()
	case wasKilled(err):
		h.killed++
		h.look()
	default:
		h.t.Fatalf("the run ended with %v, want no error or SIGKILL\n%s", err, stderr)
	}
}

// look reads the files that a killed run has left, and checks them: outcomes that were recorded before are unchanged,
// outcomes that the program has seen are recorded, and tasks that a Flush has stored are queued or recorded.
func (h *harness) look() {
	h.t.Helper()
	left := inspect(h.t, h.dir, h.name)
	if h.done = left.ended; h.done { // it was killed after the end of the job
		h.checkSeen()
		return
	}
	for digest, was := range h.recorded {
		h.compareOutcome(was, left.outcomes[digest], "in the log")
	}
	recorded := map[int]string{}
	for _, outcome := range left.outcomes {
		if n, err := strconv.Atoi(strings.Split(outcome, " ")[0]); err == nil {
			recorded[n] = outcome
		}
	}
	for n, seen := range h.seen() {
		h.compareOutcome(seen, recorded[n], "seen by its program")
	}
	if _, err := os.Stat(h.file("flushed")); err == nil && len(left.known) != h.tasks {
		h.lost += h.tasks - len(left.known)
		h.t.Errorf("after Flush, %d tasks are queued or recorded, want %d", len(left.known), h.tasks)
	}
	h.recorded, h.executions = left.outcomes, h.executionsNow()
}

// compareOutcome counts and reports an outcome that was lost or changed.
func (h *harness) compareOutcome(was, now, where string) {
	switch {
	case now == "":
		h.lost++
		h.t.Errorf("an outcome %s is lost: got none, want %s", where, was)
	case now != was:
		h.changed++
		h.t.Errorf("an outcome %s has changed: got %s, want %s", where, now, was)
	}
}

// seen returns the outcomes that the program has seen, by task. It checks that all runs have seen the same.
func (h *harness) seen() map[int]string {
	text, err := os.ReadFile(h.file("seen"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		h.t.Fatal(err)
	}
	seen := map[int]string{}
	for line := range strings.Lines(string(text)) {
		if !strings.HasSuffix(line, "\n") {
			continue // the program was killed while it wrote the line
		}
		line = strings.TrimSpace(line)
		n, err := strconv.Atoi(strings.Split(line, " ")[0])
		check(h.t, err)
		if before := seen[n]; before != "" {
			h.compareOutcome(before, line, "seen by its program")
		}
		seen[n] = line
	}
	return seen
}

// checkSeen checks, when the program has come to its end, that it has seen all outcomes, those of them unchanged that were
// recorded after the last kill, and that their tasks were not executed again.
func (h *harness) checkSeen() {
	h.t.Helper()
	if h.tasks == 0 {
		return
	}
	seen, executions := h.seen(), h.executionsNow()
	if len(seen) != h.tasks {
		h.t.Errorf("the program has seen %d results, want %d", len(seen), h.tasks)
	}
	for _, was := range h.recorded {
		n, err := strconv.Atoi(strings.Split(was, " ")[0])
		check(h.t, err)
		h.resumed++
		h.compareOutcome(was, seen[n], "in the log")
		if executions[n] != h.executions[n] {
			h.t.Errorf("task %d, whose outcome was recorded, was executed %d times, want %d", n, executions[n], h.executions[n])
		}
	}
}

// executionsNow returns how often each task has been executed, in all runs.
func (h *harness) executionsNow() map[int]int {
	text, err := os.ReadFile(h.file("runs"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		h.t.Fatal(err)
	}
	count := map[int]int{}
	for line := range strings.FieldsSeq(string(text)) {
		n, err := strconv.Atoi(line)
		check(h.t, err)
		count[n]++
	}
	return count
}

// report runs the demo to its end and returns its report, without the values that differ between runs.
func (h *harness) report() map[string]any {
	h.t.Helper()
	h.finish()
	text, err := os.ReadFile(h.file("report"))
	check(h.t, err)
	var report map[string]any
	check(h.t, json.Unmarshal(text, &report))
	if n, ok := report["resumed"].(float64); ok {
		h.resumed = int(n)
	}
	for _, key := range []string{"resumed", "seconds", "tasksPerSecond"} {
		delete(report, key)
	}
	return report
}

// compare compares the demo's report with that of a run that was not killed.
func (h *harness) compare(want map[string]any) {
	h.t.Helper()
	got := h.report()
	for key := range maps.Keys(want) {
		if !reflect.DeepEqual(got[key], want[key]) {
			h.changed++
			h.t.Errorf("%s in the report: got %v, want %v", key, got[key], want[key])
		}
	}
	if len(h.recorded) > 0 && h.resumed == 0 {
		h.t.Errorf("the last run took over 0 outcomes, want some of the %d that were recorded", len(h.recorded))
	}
}

// remains is what a killed job has left in its files.
type remains struct {
	outcomes map[task.Digest]string
	known    map[task.Digest]bool // tasks that are queued or recorded
	ended    bool                 // the job has ended
	values   values.Store         // reads external values
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

// readLog reads the first final entry of each task.
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

// outcome describes the outcome of an entry. If it is a result of testdata/killed, it is a line of the file "seen".
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

// readQueues adds the tasks in queues to those that are known.
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
