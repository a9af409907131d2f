// Package task has the types of what is sent between sessions and agents, and their one encoding.
//
// A [Spec] is one dispatch of a task: the function's name, the input, the attempt. Specs are sent in a [Batch], one message
// with specs of one owner, class and level. An [Entry] says what became of a dispatch; entries are sent in a [Record], one
// message in the owner's log. Inputs and results are a [Value] each. A [Class] is a shape of [Resources] as text, and names
// the queue of all tasks of that shape. A [Failure] is the error of a task.
//
// Batches and records are CBOR with integer keys (RFC 8949), written and read without reflection and without an allocation
// for each task: [AppendBatch], [DecodeBatch], [RecordWriter], [DecodeRecord]. The files under testdata fix the encoding.
// Every decoder is fuzzed: hostile input leads to an error, never to a panic or to an allocation of more than a small
// multiple of the message's length.
//
// The types have no locks, and the package does no I/O. Whoever has decoded or built a value owns it, and does not change
// it after passing it on.
package task
