// Package arrowipc turns Arrow records and tables into IPC streams and back, without copying what it reads: the
// buffers of a record that was read lie in the stream's own bytes.
//
// There is one codec, on arrow-go v18; records of arrow v15 cross to it, and back, without a copy (see Record15 and
// Record18). The metadata of a stream is checked before Arrow sees it: Arrow trusts lengths in it, and a wrong one
// can end the process beyond recover. Compressed streams are refused.
package arrowipc
