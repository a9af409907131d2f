package platform

import (
	"errors"
	"strings"
)

// ErrLocked is the error of LockFile if the file is locked already, by this process or by another one.
var ErrLocked = errors.New("the file is locked")

// IsDiskFull reports whether an error says that the disk, or the user's share of it, is full.
func IsDiskFull(err error) bool {
	for _, full := range diskFull {
		if errors.Is(err, full) {
			return true
		}
	}
	return false
}

// SaysDiskFull is IsDiskFull for an error of which only the text is left.
func SaysDiskFull(text string) bool {
	for _, full := range diskFull {
		if strings.Contains(text, full.Error()) {
			return true
		}
	}
	return false
}
