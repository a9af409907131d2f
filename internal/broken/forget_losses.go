//go:build broken && broken_forget_losses

package broken

func init() { ForgetLosses = true }
