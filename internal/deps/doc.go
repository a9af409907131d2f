// Package deps checks the rules of this repository by tests: which package may import which, how long a file or a function
// may be, how many fields a struct may have, what must have a comment, and which functions start goroutines. It has no code
// outside tests, and nothing imports it.
//
// A tree is the repository's Go source, parsed. A check finds where a tree breaks one rule, and returns faults. An exception
// is a fault that is accepted, with the reason. TestRules runs every check over the repository; TestStories runs each
// check over small modules in testdata, which show that it can fail.
//
// A fault says what to do instead. If the rule itself should change, change it: the layers (layers_test.go) and the limits
// (size_test.go) are tables, and a new layer or a higher limit needs a note in docs/decisions. If the rule is right and one
// place has a good reason to break it, add an exception (rules_test.go). An exception that matches no fault is reported.
//
// The checks read syntax, not types, and all files whatever their build tags. They find what breaks a rule plainly, not
// what somebody hides.
package deps
