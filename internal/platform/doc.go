// Package platform is what differs between operating systems: the lock of a file, the sync of a directory, free disk space,
// the machine's memory, and the errors of a full disk. All its functions may be called concurrently; it has no state.
//
// It is written for Linux, macOS, FreeBSD and Windows (make lint compiles all code and all tests for each). On any other
// system its functions return an error that wraps errors.ErrUnsupported; there, streams in memory still work. A platform with
// 32-bit integers is refused by the compiler: sizes, sequence numbers and hashes are held in an int in many places.
package platform
