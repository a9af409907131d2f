//go:build !broken

package broken

// What is broken: nothing.
const (
	AckFirst     = false // agents ack a batch before its entries are recorded
	LastWins     = false // a fold takes the last final entry of a task and not the first
	TrimShared   = false // a named job has its log trimmed, which its next run is to read
	FoldFirst    = false // a run that goes on folds the log before it lists what is queued
	ForgetLosses = false // owners do not count losses
)
