// Package deps holds the house rules of this module as tests: who may import whom, how long a file
// or a function may be, what a name and a comment owe the reader, and which goroutines there are.
// It has no code of its own; nothing imports it.
//
// Its nouns: a tree is the repository's Go source, parsed; a check reads a tree and reports faults;
// an exception excuses one fault, for a reason. TestHouse runs every check over the repository.
// TestStories proves on small modules, kept in testdata, that each check can fail.
//
// A fault tells what to do instead. Where the rule itself is in the way, change the rule: the floors
// (floors_test.go) and budgets (size_test.go) stand in tables, and a new floor or a wider budget
// wants a note in docs/decisions. Where one place has a good reason, list it under exceptions
// (house_test.go); an exception that excuses nothing any more is itself a fault.
//
// The checks read syntax, not types, and every file whatever its build tags. They promise to find
// the plain breach, not the one that somebody hides.
package deps
