package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidemill/tidemill/engine/graph"
	"github.com/tidemill/tidemill/engine/lease"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/engine/values"
	"github.com/tidemill/tidemill/internal/wait"
	"github.com/tidemill/tidemill/objstore"
	"github.com/tidemill/tidemill/objstore/memory"
)

// The tests of this file are of single parts of a session. They need no server, and no session that is connected.

// isSet reports whether somebody was to be woken, and takes note of it.
func isSet(s wait.Signal) bool {
	select {
	case <-s:
		return true
	default:
		return false
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// Flush waits for what was submitted before it, whatever the numbers: those of tasks that former runs have left are less
// than all of this run.
func TestFlushWaitsForWhatWasSubmittedBefore(t *testing.T) {
	var s stores
	before, after := &Handle{}, &Handle{}
	before.number, after.number = 5<<32+1, 4<<32+1
	s.begin(before, false)
	f := s.flush()
	s.begin(after, false)
	s.stored(after)
	if isClosed(f.done) {
		t.Fatal("Flush has returned, want it to wait for the task submitted before")
	}
	s.stored(before)
	if !isClosed(f.done) {
		t.Error("Flush waits, want it to return: all that was submitted before is stored")
	}
	s.stored(before) // another answer to the same task
	if f := s.flush(); f != nil {
		t.Errorf("Flush with nothing unstored: got a call that waits for %d tasks, want none", f.left)
	}
}

// Timers come in the order of their times, and not before.
func TestTimersAreDueInOrder(t *testing.T) {
	var x timers
	now := time.Now()
	for _, second := range []int{3, 1, 2} {
		x.add(timer{at: now.Add(time.Duration(second) * time.Second), number: uint64(second)})
	}
	if got, want := x.next(), now.Add(time.Second); !got.Equal(want) {
		t.Errorf("the first timer: got %s, want %s", got, want)
	}
	var got []uint64
	for {
		due, ok := x.pop(now.Add(2 * time.Second))
		if !ok {
			break
		}
		got = append(got, due.number)
	}
	if fmt.Sprint(got) != "[1 2]" {
		t.Errorf("due after two seconds: got %v, want [1 2]", got)
	}
}

// A million tasks that end before their deadlines do not leave a million timers.
func TestDeadlinesOfEndedTasksAreForgotten(t *testing.T) {
	var x timers
	for n := range uint64(10 * minDead) {
		x.add(timer{at: time.Now().Add(time.Hour), number: n, kind: deadlinePassed})
		x.ended(1, func(uint64) bool { return false })
	}
	if n := len(x.heap); n > minDead {
		t.Errorf("timers of ended tasks: got %d, want at most %d", n, minDead)
	}
	x = timers{}
	for n := range uint64(minDead) {
		x.add(timer{number: n})
		x.ended(1, func(number uint64) bool { return number%2 == 0 })
	}
	if n := len(x.heap); n != minDead/2 {
		t.Errorf("timers of open tasks: got %d, want %d", n, minDead/2)
	}
}

// A task that is cancelled during its delay leaves no timer for long, and timers that fire are not counted twice.
func TestTimersOfEndedTasks(t *testing.T) {
	tr, now := tracker{graph: graph.New(1), history: history{}}, time.Now()
	for n := range uint64(4 * minDead) {
		h := &Handle{}
		h.number, h.route, h.stored = n+1, &route{template: &Template{}}, true
		tr.add(h)
		tr.setTimer(now, h.number, delayOver)
		tr.setTimer(now.Add(time.Hour), h.number, deadlinePassed)
		if _, due, ok := tr.popTimer(now); !ok || due != h || h.timers != 1 {
			t.Fatalf("the timer of task %d: got %v, %t with %d left, want the task, true, 1", h.number, due, ok, h.timers)
		}
		tr.remove(h)
	}
	if kept := len(tr.timers.heap); kept > minDead || tr.timers.dead != kept {
		t.Errorf("timers of ended tasks: got %d, of which %d are counted, want at most %d, all counted", kept, tr.timers.dead, minDead)
	}
	tr.setTimer(now, 1, delayOver)
	if kept := len(tr.timers.heap); kept > minDead {
		t.Errorf("after a timer for a task that has ended: got %d timers, want none added", kept)
	}
}

// The bound on bytes holds whatever Pending says: records must find room in the same server.
func TestRoom(t *testing.T) {
	for _, c := range []struct {
		bytes, open, pending int
		want                 bool
	}{
		{0, 0, 0, true},
		{0, DefaultPending - 1, 0, true},
		{0, DefaultPending, 0, false},
		{0, 5, 5, false},
		{0, 5_000_000, -1, true},
		{pendingBytes, 0, 0, false},
		{pendingBytes, 0, -1, true},
		{1 << 30, 0, -1, false},
	} {
		r := room{bytes: c.bytes, limit: 1 << 30}
		if got := r.has(c.open, c.pending); got != c.want {
			t.Errorf("room beside %d tasks with %d bytes, Pending(%d): got %t, want %t", c.open, c.bytes, c.pending, got, c.want)
		}
	}
}

// The notes of a task are bounded: the first and the last ones are kept, and repetitions are not.
func TestHistoryIsBounded(t *testing.T) {
	h := history{}
	note := func(losses int) graph.Note {
		return graph.Note{State: task.Lost, Dispatch: task.Dispatch{Attempt: 1, Losses: int32(losses)}}
	}
	for losses := range 10 * maxHistory {
		if !h.add(1, note(losses)) {
			t.Fatalf("note %d was left out, want it kept", losses)
		}
		if h.add(1, note(losses)) {
			t.Fatalf("note %d was kept twice, want once", losses)
		}
	}
	notes := h.take(1)
	if len(notes) != maxHistory || notes[0].Losses != 0 || notes[len(notes)-1].Losses != 10*maxHistory-1 {
		t.Errorf("got %d notes from loss %d to %d, want %d from 0 to %d", len(notes), notes[0].Losses, notes[len(notes)-1].Losses, maxHistory, 10*maxHistory-1)
	}
	if rest := h.take(1); rest != nil {
		t.Errorf("notes after they were taken: got %v, want none", rest)
	}
}

// A batch has tasks of one lane only, and what has got its outcome while it waited is left out. Tasks that were lost are
// not mixed with others, and from the third loss on they go alone.
func TestFormingBatches(t *testing.T) {
	type submitted struct {
		losses int32
		share  int32
		ended  bool
	}
	lost := func(n int, s submitted) (all []submitted) {
		for range n {
			all = append(all, s)
		}
		return all
	}
	for _, c := range []struct {
		name  string
		tasks []submitted
		want  []int // sizes of the batches
	}{
		{"eight tasks on one slot", lost(8, submitted{}), []int{8}},
		{"what has ended is left out", []submitted{{}, {ended: true}, {}}, []int{2}},
		{"all have ended", lost(3, submitted{ended: true}), []int{0}},
		{"lost tasks come in parts", lost(6, submitted{losses: 1, share: 2}), []int{2, 2, 2}},
		{"and not with others", []submitted{{}, {}, {losses: 1, share: 8}, {losses: 1, share: 8}, {}}, []int{2, 2, 1}},
		{"alone from the third loss on", lost(3, submitted{losses: graph.Alone, share: 8}), []int{1, 1, 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, tr := newOutbox(), &tracker{history: history{}}
			l := o.lane(laneKey{"cpu", task.Normal}, nil)
			l.slots, l.agents = 1, 1
			cost := o.cost("f")
			cost.observe(time.Microsecond)
			for i, x := range c.tasks {
				h := &Handle{}
				h.number, h.route, h.share = uint64(i+1), &route{template: &Template{}, lane: l, cost: cost}, x.share
				h.dispatch = task.Dispatch{Attempt: 1, Losses: x.losses}
				if !x.ended {
					tr.add(h)
				}
				l.add(h.number)
			}
			var got []int
			for l.waiting.len() > 0 {
				got = append(got, len(o.form(l, tr)))
			}
			if fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("sizes of the batches: got %v, want %v", got, c.want)
			}
		})
	}
}

// After a refusal, tasks wait in front of all others, and nothing is sent for a while.
func TestARefusedBatchWaitsInFront(t *testing.T) {
	o := newOutbox()
	l := o.lane(laneKey{"cpu", task.Normal}, nil)
	l.add(3)
	l.window.send(2)
	l.writing = 1
	l.writing--
	l.refused([]uint64{1, 2}, true)
	var got []uint64
	for i := range l.waiting.len() {
		got = append(got, l.waiting.at(i))
	}
	if fmt.Sprint(got) != "[1 2 3]" || !l.gone || l.window.open() != 0 {
		t.Errorf("after a refusal: got tasks %v, queue gone %t, %d batches under way, want [1 2 3], true, 0", got, l.gone, l.window.open())
	}
	if now := time.Now(); l.sendable(now) || !l.sendable(now.Add(2*retryDelay)) {
		t.Errorf("sendable now: got %t, want false; after %s: got %t, want true", l.sendable(now), 2*retryDelay, l.sendable(now.Add(2*retryDelay)))
	}
}

// A graph, its tracker and the effects of a loss: the task is dispatched again after a delay, and the third of three
// attempts is the last.
func TestTrackerFollowsItsGraph(t *testing.T) {
	tr := tracker{graph: graph.New(1), history: history{}}
	h := &Handle{}
	h.number, h.route = 7, &route{template: &Template{}}
	tr.add(h)
	words := func(commands []graph.Command) string {
		var all []string
		for _, c := range commands {
			all = append(all, fmt.Sprintf("%d of %d at %d.%d", c.Do, c.Task, c.Attempt, c.Losses))
		}
		return strings.Join(all, ", ")
	}
	for _, step := range []struct {
		event graph.Event
		want  string
	}{
		{graph.Event{What: graph.Submitted, Task: 7, Retries: 2}, fmt.Sprintf("%d of 7 at 1.0", graph.Dispatch)},
		{graph.Event{What: graph.Recorded, Task: 7, State: task.Lost, Dispatch: task.Dispatch{Attempt: 1}}, fmt.Sprintf("%d of 7 at 0.0", graph.Wait)},
		{graph.Event{What: graph.Due, Task: 7}, fmt.Sprintf("%d of 7 at 1.1", graph.Dispatch)},
		{graph.Event{What: graph.Recorded, Task: 7, State: task.OK, Dispatch: task.Dispatch{Attempt: 1, Losses: 1}}, fmt.Sprintf("%d of 7 at 0.0", graph.Resolve)},
	} {
		if got := words(tr.apply(&step.event)); got != step.want {
			t.Errorf("after event %d: got %q, want %q", step.event.What, got, step.want)
		}
	}
	if tr.task(7) != h || tr.published() != 1 || tr.room.bytes != task.SpecBytes {
		t.Errorf("before the task is removed: got %v, %d published, %d bytes, want the task, 1, %d", tr.task(7), tr.published(), tr.room.bytes, task.SpecBytes)
	}
	h.stored = true
	tr.remove(h)
	if tr.task(7) != nil || tr.published() != 0 || tr.room.bytes != 0 {
		t.Errorf("after it is removed: got %v, %d published, %d bytes, want none", tr.task(7), tr.published(), tr.room.bytes)
	}
}

// A queue of children gives the newest one to whoever walks a tree, and the oldest one to others; any may be taken out.
func TestLocalQueue(t *testing.T) {
	var q LocalQueue
	children := make([]*Child, 6)
	for i := range children {
		children[i] = &Child{}
		q.push(children[i])
	}
	for _, i := range []int{5, 0, 2} {
		q.remove(children[i])
	}
	if q.Len() != 3 || q.oldest() != children[1] || q.newest() != children[4] {
		t.Errorf("got %d children, oldest is the second: %t, newest is the fifth: %t, want 3, true, true", q.Len(), q.oldest() == children[1], q.newest() == children[4])
	}
	q.remove(children[1]) // with the hole that the third has left
	if q.oldest() != children[3] || q.removed != 3 {
		t.Errorf("oldest is the fourth: got %t, %d places cut off, want true, 3", q.oldest() == children[3], q.removed)
	}
	q.remove(children[3])
	q.remove(children[4])
	if q.Len() != 0 || q.oldest() != nil || q.newest() != nil {
		t.Errorf("an empty queue: got %d children, %v, %v, want none", q.Len(), q.oldest(), q.newest())
	}
}

func newObjectSet() *objectSet {
	store := objstore.NewStore(objstore.Config{Tier: memory.New(memory.Config{})})
	return &objectSet{store: values.Store{Objects: store, Most: 1 << 20}, scope: "me", keeper: wait.NewSignal(), dropped: &droppedKeys{}}
}

// An object is removed when nobody holds it any more, and not before: neither a handle, nor a task, nor the log.
func TestObjectsAreRemovedWhenNobodyHoldsThem(t *testing.T) {
	o, ctx := newObjectSet(), t.Context()
	put := func(fill byte) (v task.Value, acquired objectKeys) {
		v.Data = []byte(strings.Repeat(string(fill), 2*values.InlineBytes))
		acquired, err := o.externalize(ctx, &v, nil)
		if err != nil || v.Object() == nil || len(acquired) != 1 {
			t.Fatalf("put a large value: got %d objects acquired, %v, want 1, nil", len(acquired), err)
		}
		return v, acquired
	}
	isThere := func(v task.Value) bool {
		if err := o.removeFree(ctx); err != nil {
			t.Fatalf("remove what nobody holds: got %v, want nil", err)
		}
		_, err := o.store.Read(ctx, v)
		return err == nil
	}
	byHandle, acquired := put('h')
	again := o.acquire(&byHandle)
	o.release(acquired)
	if isSet(o.keeper) || !isThere(byHandle) {
		t.Error("a value that a handle holds: got removed, want kept")
	}
	o.release(again)
	if !isSet(o.keeper) || isThere(byHandle) {
		t.Error("a value that nobody holds: got kept, or the keeper not woken, want removed")
	}
	byTask, acquired := put('t')
	o.holdInput(7, acquired)
	o.release(acquired)
	if !isThere(byTask) {
		t.Error("the input of an open task: got removed, want kept")
	}
	o.releaseInput(7)
	if isThere(byTask) {
		t.Error("the input of an ended task: got kept, want removed")
	}
	byLog, acquired := put('l')
	o.holdByLog(&byLog)
	o.release(acquired)
	if !isThere(byLog) {
		t.Error("a value in the log of a named job: got removed, want kept")
	}
}

// pass lets virtual time pass.
func pass(t *testing.T, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
	}
}

// While a put may wait for room, the keeper is woken for what the garbage collector has found.
func TestAPutThatWaitsWakesTheKeeper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newObjectSet()
		looking := o.lookForGarbage()
		pass(t, 10*slowPut)
		if isSet(o.keeper) {
			t.Error("without garbage: got the keeper woken, want it left alone")
		}
		o.dropped.add(objectKeys{{Scope: "me"}})
		pass(t, 2*slowPut)
		if !isSet(o.keeper) {
			t.Error("with garbage: got the keeper left alone, want it woken")
		}
		looking.Stop()
	})
}

// A value that is put while an equal one is being removed is put again: the store had it when it was looked for.
func TestPuttingWhatIsBeingRemoved(t *testing.T) {
	o, ctx := newObjectSet(), t.Context()
	data := []byte(strings.Repeat("x", 2*values.InlineBytes))
	v := task.Value{Data: data}
	acquired, err := o.externalize(ctx, &v, nil)
	if err != nil {
		t.Fatalf("put a value: got %v, want nil", err)
	}
	o.release(acquired)
	removing := o.beginRemoval()
	if len(removing) != 1 {
		t.Fatalf("objects to remove: got %d, want 1", len(removing))
	}
	done := make(chan error, 1)
	second := task.Value{Data: data}
	go func() {
		_, err := o.externalize(ctx, &second, nil)
		done <- err
	}()
	if err := o.store.Objects.Remove(ctx, removing...); err != nil {
		t.Fatalf("remove the first value: got %v, want nil", err)
	}
	o.endRemoval(nil)
	select {
	case err := <-done:
		if err != nil {
			t.Fatalf("put the same value again: got %v, want nil", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("put the same value again: still waiting after a minute for the removal to end")
	}
	if _, err := o.store.Read(ctx, second); err != nil {
		t.Errorf("read the second value: got %v, want it there", err)
	}
}

// A value that was put again after the removal is not put a third time.
func TestPuttingOnceAfterARemoval(t *testing.T) {
	o, ctx := newObjectSet(), t.Context()
	v := task.Value{Data: []byte(strings.Repeat("x", 2*values.InlineBytes))}
	acquired, err := o.externalize(ctx, &v, nil)
	if err != nil {
		t.Fatalf("put a value: got %v, want nil", err)
	}
	o.release(acquired)
	_, began := o.beginRemoval(), o.beginPut()
	if _, again := o.put(&v, false, &began); !again {
		t.Error("put while it is removed: got not again, want again")
	}
	o.endRemoval(nil)
	if acquired, again := o.put(&v, false, &began); again || len(acquired) != 1 {
		t.Errorf("put after the removal: got again %t, %d objects acquired, want false, 1", again, len(acquired))
	}
}

// Whoever waits for a removal can give up, and holds nothing afterwards.
func TestGivingUpWhileAnObjectIsRemoved(t *testing.T) {
	o := newObjectSet()
	data := []byte(strings.Repeat("x", 2*values.InlineBytes))
	v := task.Value{Data: data}
	acquired, err := o.externalize(t.Context(), &v, nil)
	if err != nil {
		t.Fatalf("put a value: got %v, want nil", err)
	}
	o.release(acquired)
	o.beginRemoval()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	acquired, err = o.externalize(ctx, &task.Value{Data: data}, nil)
	if err == nil {
		t.Error("put while the context has ended: got nil, want an error")
	}
	o.release(acquired)
	o.endRemoval(nil)
	if len(o.acquired) != 0 || o.putting != 0 {
		t.Errorf("afterwards: got %d objects acquired, %d values being put, want none", len(o.acquired), o.putting)
	}
}

// The trim mark is written every second at most, and sooner when much was read.
func TestTrimMark(t *testing.T) {
	var m trimMark
	now := time.Now()
	if mark, at := m.take(now); mark != 0 || !at.IsZero() {
		t.Errorf("before anything is read: got %d at %s, want none", mark, at)
	}
	if !m.folded(5, 10) {
		t.Error("after the first record: got not worth writing, want worth")
	}
	if mark, _ := m.take(now); mark != 5 {
		t.Errorf("the first mark: got %d, want 5", mark)
	}
	m.folded(6, 10)
	if m.folded(7, 10) {
		t.Error("after a small record: got worth writing at once, want later")
	}
	if mark, at := m.take(now); mark != 0 || !at.Equal(now.Add(trimEvery)) {
		t.Errorf("within a second: got %d, the next at %s, want 0, in %s", mark, at, trimEvery)
	}
	if !m.folded(8, trimBytes) {
		t.Errorf("after %d bytes: got not worth writing, want worth", trimBytes)
	}
	if mark, _ := m.take(now); mark != 8 {
		t.Errorf("after %d bytes: got %d, want 8", trimBytes, mark)
	}
}

// What was read of a log that is closed is not to be trimmed: the log may have been rolled back, and records that nobody has
// read may have those sequences by now.
func TestAClosedLogHasNoTrimMark(t *testing.T) {
	r := logReader{began: time.Now()}
	id := &identity{}
	r.current.Store(id)
	r.folded(id, 5, 10)
	r.close()
	r.folded(id, 6, 10) // by a call that was running
	if mark, at := r.trimMark(time.Now()); mark != 0 || !at.IsZero() {
		t.Errorf("after the log was closed: got mark %d, next at %s, want none", mark, at)
	}
}

// Rows of cancels are bounded; a task that is ended for another reason is in none.
func TestCancelRowsCollect(t *testing.T) {
	r := cancelRows{keeper: wait.NewSignal()}
	for number, why := range map[uint64]graph.Why{1: graph.Asked, 2: graph.TooLate, 3: graph.Exhausted, 4: graph.LostTooMuch, 5: graph.DependencyFailed} {
		r.add(&graph.Command{Task: number, Why: why})
	}
	asked, late := r.take()
	if fmt.Sprint(asked, late) != "[1] [2]" || !isSet(r.keeper) {
		t.Errorf("to tell agents: got asked %v, late %v, want [1] [2]", asked, late)
	}
	if asked, late := r.take(); len(asked)+len(late) > 0 {
		t.Errorf("after they were taken: got %v %v, want none", asked, late)
	}
}

// A dead letter has the history, and the input if that is short.
func TestDeadLetterMessage(t *testing.T) {
	l := deadLetter{
		class: "cpu", input: task.Value{Data: []byte("abc")}, at: time.Unix(1, 0),
		history: []graph.Note{{State: task.Lost, Dispatch: task.Dispatch{Attempt: 1, Losses: 2}, Node: "n1"}},
		failure: &task.Failure{Kind: task.KindError, Message: "two\nlines", Func: "f", Task: task.ID{Owner: "me", Number: 3}, Attempt: 1},
	}
	m, err := l.message(1 << 20)
	want := `{"task":"me-3","func":"f","class":"cpu","attempt":1,"losses":3,"failure":{"kind":"error","message":"two\nlines"},` +
		`"history":[{"state":"lost","attempt":1,"losses":2,"node":"n1"}],"input":"YWJj","inputType":0,"inputBytes":3,"recorded":"1970-01-01T00:00:01Z"}`
	want = strings.Replace(want, "me-3", l.failure.Task.String(), 1)
	if err != nil || string(m.Data) != want {
		t.Errorf("dead letter: got %s, %v, want %s", m.Data, err, want)
	}
	if reason := m.Header.Get("Tm-Reason"); strings.Contains(reason, "\n") || !strings.Contains(reason, "two lines") {
		t.Errorf("reason: got %q, want one line with %q", reason, "two lines")
	}
	l.input.Data = make([]byte, 1<<20)
	if m, err = l.message(1 << 20); err != nil || len(m.Data) > 1<<18 || !strings.Contains(string(m.Data), `"inputBytes":1048576`) {
		t.Errorf("dead letter of a large input: got %d bytes, %v, want less than %d that say how many it had", len(m.Data), err, 1<<18)
	}
}

// What of a former run is not asked for yet is remembered; what is asked for is taken over once.
func TestResumeRecallsWhatFormerRunsHaveLeft(t *testing.T) {
	r, template := newResume(), &Template{Func: "f"}
	in := task.Value{Data: []byte{1}}
	digest := taskDigest(callDigest(template, in, nil), 0, 0)
	r.note(&recorded{Entry: &task.Entry{Number: 9, Digest: digest, State: task.OK}, writer: "n1"}, "job-1", logPosition{42, 1})
	first, second := r.recall(template, in, nil), r.recall(template, in, nil)
	if !first.known || first.left.Sequence != 42 || first.left.Index != 1 || first.digest != digest {
		t.Errorf("the first equal call: got %+v, want the result at 42.1", first)
	}
	if second.known || second.digest == digest {
		t.Errorf("the second equal call: got %+v, want a task of its own", second)
	}
}

// A cancellation that a former run has recorded by itself is told agents again only if a copy of the task is queued.
func TestResumeTellsAgentsAgain(t *testing.T) {
	for _, c := range []struct {
		name                string
		queued, recalled    bool
		writer              string
		state               task.State
		wantAsked, wantLate string
	}{
		{"cancelled", true, false, "job-1", task.Cancelled, "[9]", "[]"},
		{"too late", true, false, "job-1", task.Failed, "[]", "[9]"},
		{"no copy is queued", false, false, "job-1", task.Cancelled, "[]", "[]"},
		{"an agent has written it", true, false, "n1", task.Cancelled, "[]", "[]"},
		{"of this run", true, true, "job-1", task.Cancelled, "[]", "[]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, digest := newResume(), task.Digest{1}
			if c.queued {
				r.past.Listed(digest, 9, task.Dispatch{Attempt: 1})
			}
			r.recalled = c.recalled
			r.note(&recorded{Entry: &task.Entry{Number: 9, Digest: digest, State: c.state}, writer: c.writer}, "job-1", logPosition{1, 0})
			if got := fmt.Sprint(r.asked, r.late); got != c.wantAsked+" "+c.wantLate {
				t.Errorf("agents are told of: got %s, want %s %s", got, c.wantAsked, c.wantLate)
			}
		})
	}
}

// The publisher is woken once, and only while it sleeps.
func TestPublisherIsWokenWhileItSleeps(t *testing.T) {
	p := publisher{wake: wait.NewSignal()}
	p.wakeUp()
	if isSet(p.wake) {
		t.Error("while it works: got woken, want left alone")
	}
	p.sleeps = true
	p.wakeUp()
	if !isSet(p.wake) || p.sleeps {
		t.Error("while it sleeps: got left alone, want woken")
	}
}

// The publisher of a broken session sleeps, whatever still waits: nothing of it is ever sent.
func TestThePublisherOfABrokenSessionSleeps(t *testing.T) {
	now := time.Now()
	s := &Session{outbox: newOutbox(), keeper: keeper{began: now}, broken: lease.ErrLost}
	s.outbox.lane(laneKey{"cpu", task.Normal}, nil).add(1)
	s.tracker.ends = []graph.Command{{Do: graph.End, Task: 2}}
	if pause := s.sleep(now); pause < time.Minute {
		t.Errorf("without the lease, with a task and a final entry that wait: got a pause of %s, want long", pause)
	}
}

// Without a lease nothing is leased.
func TestKeeperWithoutALease(t *testing.T) {
	k := keeper{began: time.Now(), lease: &lease.Lease{}}
	if k.leased(time.Now()) {
		t.Error("before the first lease: got leased, want not")
	}
	k.until.Store(int64(time.Minute))
	if now := time.Now(); !k.leased(now) || k.leased(now.Add(time.Hour)) {
		t.Errorf("with a lease of a minute: got leased now %t, in an hour %t, want true, false", k.leased(now), k.leased(now.Add(time.Hour)))
	}
}

// host is an agent that counts what a session asks of it.
type host struct{ yields, reacquires, inlines int }

func (h *host) Session(context.Context) (*Session, error) { return nil, ErrNoSession }
func (h *host) WakeSlot()                                 {}
func (h *host) RunInline(*TaskContext, *Handle)           { h.inlines++ }
func (h *host) Yield(*TaskContext)                        { h.yields++ }
func (h *host) Reacquire(*TaskContext)                    { h.reacquires++ }

func newTaskContext(h *host) *TaskContext {
	return &TaskContext{ExecEnv: &ExecEnv{Base: context.Background(), Log: slog.Default(), Host: h, Plain: true}}
}

// A task yields its slot while at least one of its goroutines waits, and has it again when none does. A wait may be over
// before it is noted.
func TestSlotShare(t *testing.T) {
	h := &host{}
	x := newTaskContext(h)
	check := func(when string, yields, reacquires int) {
		t.Helper()
		if h.yields != yields || h.reacquires != reacquires {
			t.Errorf("%s: got %d yields, %d reacquired, want %d, %d", when, h.yields, h.reacquires, yields, reacquires)
		}
	}
	x.slot.yield(x)
	x.slot.yield(x)
	check("while two goroutines wait", 1, 0)
	x.slot.reacquire(x)
	check("while one does", 1, 0)
	x.slot.reacquire(x)
	check("while none does", 1, 1)
	x.slot.reacquire(x)
	x.slot.yield(x)
	check("after a wait that was over before it was noted", 1, 1)
	if !x.slot.beginInline() || x.slot.beginInline() {
		t.Error("two goroutines at a time want to run a child in the slot: got both or none, want one")
	}
	x.slot.yield(x)
	check("while a child runs in the slot", 1, 1)
	x.slot.endInline(x)
	check("when it has ended", 2, 1)
	x.Finish()
	check("when the task has ended", 2, 2)
	x.slot.reacquire(x)
	check("when the wait is over, too", 2, 2)
	if x.slot.beginInline() {
		t.Error("after the task has ended, a child is to run in its slot: got allowed, want refused")
	}
}

// An attempt can be cancelled before its timeout is set: while its input is fetched.
func TestCancelledBeforeItsTimeoutIsSet(t *testing.T) {
	x := newTaskContext(&host{})
	cause := errors.New("not wanted")
	x.Cancel(cause)
	x.SetTimeout(time.Now().Add(time.Hour))
	if x.Err() == nil || !errors.Is(context.Cause(x), cause) {
		t.Errorf("after the cancellation: got %v, cause %v, want an error, %v", x.Err(), context.Cause(x), cause)
	}
}

// The context ends with the task, at its timeout, or with the agent, whether somebody has asked for its channel or not.
func TestLazyContext(t *testing.T) {
	for _, asked := range []bool{false, true} {
		base, cancel := context.WithCancel(context.Background())
		begin := func(timeout time.Time) *TaskContext {
			x := &TaskContext{ExecEnv: &ExecEnv{Base: base}}
			if !timeout.IsZero() {
				x.SetTimeout(timeout)
			}
			if asked {
				x.Done()
			}
			return x
		}
		ended, late, last := begin(time.Time{}), begin(time.Now().Add(-time.Second)), begin(time.Time{})
		if err := ended.Err(); err != nil {
			t.Errorf("while the task runs (asked %t): got %v, want nil", asked, err)
		}
		ended.End()
		if !errors.Is(ended.Err(), context.Canceled) || !isClosed(ended.Done()) {
			t.Errorf("after the task has ended (asked %t): got %v, want %v", asked, ended.Err(), context.Canceled)
		}
		if !errors.Is(late.Err(), context.DeadlineExceeded) {
			t.Errorf("after the timeout (asked %t): got %v, want %v", asked, late.Err(), context.DeadlineExceeded)
		}
		late.End()
		cancel()
		if !errors.Is(last.Err(), context.Canceled) {
			t.Errorf("after the agent has ended (asked %t): got %v, want %v", asked, last.Err(), context.Canceled)
		}
		last.End()
	}
}
