//go:build broken

package broken

// What is broken: what the other tags say.
var (
	AckFirst     bool // agents ack a batch before its entries are recorded
	LastWins     bool // a fold takes the last final entry of a task and not the first
	TrimShared   bool // a named job has its log trimmed, which its next run is to read
	FoldFirst    bool // a run that goes on folds the log before it lists what is queued
	ForgetLosses bool // owners do not count losses
)
