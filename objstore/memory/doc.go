// Package memory is the shelf of objstore in this process: values are shared by goroutines without a copy,
// and gone when the process ends.
package memory
