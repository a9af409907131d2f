// Package suggest writes the "did you mean" of error messages. It has one function and no state.
package suggest
