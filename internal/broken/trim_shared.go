//go:build broken && broken_trim_shared

package broken

func init() { TrimShared = true }
