//go:build broken

package broken

// The rules that are broken, as set by the files with further build tags.
var (
	AckFirst     bool // agents ack a batch before its entries are recorded
	LastWins     bool // the last final entry of a task is its outcome, not the first
	TrimShared   bool // the log of a named job is trimmed, although its next run will read it
	FoldFirst    bool // the next run of a named job folds the log before it lists queued batches
	ForgetLosses bool // owners do not count losses
)
