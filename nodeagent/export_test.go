package nodeagent

import (
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/queues"
)

// SealedWhileBusy adds n entries of one owner while a record of the owner is being stored, and returns how many entries each
// of the records has that wait behind it.
func SealedWhileBusy(n int) (entries []int) {
	r := &recorder{owners: map[string]*pending{}, maxRecord: 4 << 20}
	p := r.newPending("o")
	p.busy = true
	b := &batch{Batch: task.Batch{Owner: "o", Specs: make([]task.Spec, n)}}
	for i := range n {
		r.add(b, &task.Entry{Number: uint64(i + 1), State: task.OK, Dispatch: task.Dispatch{Attempt: 1}})
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	p.timer.Stop()
	p.sealLocked()
	for _, rec := range p.sealed {
		total := int64(0)
		for _, s := range rec.shares {
			total += s.n
		}
		entries = append(entries, int(total))
	}
	return entries
}

func deliveryOf(sequence uint64, stored int64) *queues.Delivery {
	return &queues.Delivery{Sequence: sequence, Stored: stored}
}
