// Package suggest writes the "did you mean" of error messages. It keeps no state.
package suggest
