//go:build 386 || arm || mips || mipsle

package platform

// The compiler's message for this line is the sentence that a user reads.
const _ int = "Tidemill needs a 64-bit platform, such as GOARCH=amd64 or arm64: build for one of them"
