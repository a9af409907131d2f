package arrowipc_test

import (
	"math/rand/v2"
	"testing"

	"github.com/tidemill/tidemill/internal/arrowipc"
)

// Streams with changed bytes are decoded or lead to an error, and never crash the process.
func TestMutations(t *testing.T) {
	seed := encode(t, record(3))
	rng := rand.New(rand.NewPCG(1, 2))
	refused := 0
	for range 30_000 {
		data := append([]byte(nil), seed...)
		for range 1 + rng.IntN(4) {
			data[rng.IntN(len(data))] = byte(rng.Uint32())
		}
		if _, _, err := arrowipc.Decode(data); err != nil {
			refused++
		}
	}
	if refused < 10_000 {
		t.Errorf("refused streams of 30,000: got %d, want at least 10,000", refused)
	}
}
