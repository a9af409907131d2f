// Package directory is the cluster's address book. [Nodes] is a view of the nodes that live: what each
// has, which functions its agent can run, when it was last heard of. Agents write their rows and beats
// with [Announce]; sessions read them, to refuse at once what nobody can run and to say what there is.
//
// A view is a little behind the truth. What it decides (is this function known? does this shape fit
// somewhere?) is checked again where the task arrives.
package directory
