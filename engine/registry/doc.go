// Package registry has the functions of a program by name.
//
// A [Function] is code under a name, from encoded input to encoded result. A [Registry] maps names to functions; a
// program usually has one, which driver and agents share. Its own mutex guards it; no other lock is taken under that.
package registry
