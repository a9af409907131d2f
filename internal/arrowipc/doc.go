// Package arrowipc writes Arrow records as IPC streams ([Encode]) and reads them without a copy ([Decode]): the buffers of a
// decoded record are parts of the stream's bytes.
//
// There is one codec, on arrow-go v18. Records of arrow v15 are converted to v18 and back without a copy of their buffers
// ([Record15], [Record18]). The metadata of a stream is verified before Arrow reads it, because Arrow trusts the lengths in
// it, and a wrong one can crash the process in a way that recover does not catch. Compressed streams are refused. The
// package has no state; all functions can be used concurrently.
package arrowipc
