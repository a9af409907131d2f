//go:build broken && broken_last_wins

package broken

func init() { LastWins = true }
