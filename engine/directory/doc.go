// Package directory says which nodes there are and what they can run.
//
// An agent writes a row of the table of nodes with [Announce], and again every [BeatEvery]; its [Row] belongs to one
// goroutine and has no lock. [Nodes] is a view of that table, which sessions and agents keep: the resources of each node,
// its functions, and its idle CPUs. One mutex guards it; no other lock is taken under it, and the functions given to
// [Nodes.Notify] are called without it.
//
// A view lags behind the table. What a session decides by it (is this function known? does this shape fit into some node?)
// is checked again by the agent that gets the task.
package directory
