//go:build unix

package platform_test

import "syscall"

const diskFull = syscall.ENOSPC
