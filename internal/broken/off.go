//go:build !broken

package broken

// The rules that can be broken, all kept.
const (
	AckFirst     = false // agents ack a batch before its entries are recorded
	LastWins     = false // the last final entry of a task is its outcome, not the first
	TrimShared   = false // the log of a named job is trimmed, although its next run will read it
	FoldFirst    = false // the next run of a named job folds the log before it lists queued batches
	ForgetLosses = false // owners do not count losses
)
