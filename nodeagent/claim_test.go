package nodeagent

import "testing"

// What an agent does with a delivery follows from a few facts; the earlier rule counts.
func TestDisposition(t *testing.T) {
	for _, c := range []struct {
		name string
		d    delivered
		want disposition
	}{
		{"a new batch", delivered{first: true}, accept},
		{"a new batch while the agent drains", delivered{first: true, draining: true, external: true}, handBack},
		{"a redelivered one while it drains", delivered{draining: true, held: true}, ignore},
		{"one that runs here, whose lease has ended", delivered{held: true, ownerEnded: true}, extendLease},
		{"one whose ack was lost", delivered{acked: true}, ackAgain},
		{"one whose owner has ended", delivered{first: true, ownerEnded: true, old: true}, ackAgain},
		{"a redelivered one", delivered{old: true, external: true}, recordLost},
		{"one from before this boot", delivered{first: true, old: true}, prepare},
		{"one with tasks that were lost, in durable streams", delivered{first: true, risky: true}, prepare},
		{"one with inputs in the store", delivered{first: true, external: true}, prepare},
	} {
		if got := c.d.disposition(); got != c.want {
			t.Errorf("%s: got disposition %d, want %d", c.name, got, c.want)
		}
	}
}

// Batches are found among those acked last by sequence and time: another stream may use a sequence again.
func TestAcked(t *testing.T) {
	var a acked
	for sequence := range uint64(2 * len(a.recent)) {
		a.add(deliveryOf(sequence+1, 7))
	}
	for _, c := range []struct {
		sequence uint64
		stored   int64
		want     bool
	}{
		{2 * uint64(len(a.recent)), 7, true},
		{uint64(len(a.recent)) + 1, 7, true},
		{uint64(len(a.recent)) + 1, 8, false},
		{1, 7, false}, // too long ago
		{2*uint64(len(a.recent)) + 1, 7, false},
	} {
		if got := a.has(deliveryOf(c.sequence, c.stored)); got != c.want {
			t.Errorf("sequence %d, stored %d: got acked %t, want %t", c.sequence, c.stored, got, c.want)
		}
	}
}
