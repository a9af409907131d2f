package arrowipc_test

import (
	"math/rand/v2"
	"testing"

	"github.com/tidemill/tidemill/internal/arrowipc"
)

// Changed bytes anywhere in a stream are a result or an error, and not the end of the process.
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
		t.Errorf("only %d of 30,000 were refused: the checks see little", refused)
	}
}
