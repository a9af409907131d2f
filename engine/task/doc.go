// Package task holds the nouns that cross a queue, and their one encoding.
//
// A [Spec] says what is to be done: a function's name, an input, which attempt this is. Specs travel
// in a [Batch], one message with many specs of one owner, class and level. An [Entry] says what became
// of one task; entries travel in a [Record], one message in the log of the owner. A [Class] is a shape
// of [Resources] in words, and names the queue that a task waits in. A [Failure] is an error that
// crossed the wire.
//
// Both messages are CBOR with integer keys (RFC 8949), written and read without reflection and without
// an allocation for each task: [AppendBatch], [DecodeBatch], [RecordWriter], [DecodeRecord]. The files
// under testdata hold the encoding still. Every decoder is bounded by the bytes it is given and fuzzed:
// hostile input is an error, and never a panic or an allocation larger than a small multiple of the
// message.
//
// The package promises nothing about time, order or storage: it is nouns, and does no I/O.
package task
