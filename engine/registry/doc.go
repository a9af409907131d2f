// Package registry keeps functions by name for whoever executes them.
//
// A [Function] is code under a name, from encoded input to encoded result. A [Registry] maps names to functions; a
// program usually has one. Drivers and agents share it, so its own mutex guards it, which is taken last: no other lock
// is taken under it.
package registry
