// Package memory is the tier of objstore in this process: goroutines share values without a copy, and the values are gone
// when the process ends. A [Tier] bounds their bytes; one mutex guards all of it.
package memory
