//go:build broken && broken_fold_first

package broken

func init() { FoldFirst = true }
