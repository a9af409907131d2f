//go:build broken && broken_ack_first

package broken

func init() { AckFirst = true }
