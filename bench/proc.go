package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// needProc returns an error where there is no /proc of Linux.
func needProc() error {
	if runtime.GOOS != "linux" {
		return fmt.Errorf("the row is measured on Linux only, since it needs /proc; this is %s", runtime.GOOS)
	}
	return nil
}

// usageOf reads the usage of a process from /proc, without its descendants.
func usageOf(pid int) (usage, error) {
	u := usage{at: time.Now()}
	if err := needProc(); err != nil {
		return u, err
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return u, err
	}
	if u.rss, err = sizeOf(status, "VmRSS"); err != nil {
		return u, err
	}
	// The CPU time is the sum over all threads, in nanoseconds. /proc/PID/stat counts in hundredths of a second, and an
	// idle process uses about one of them while it is watched.
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err == nil && len(threads) == 0 {
		err = fmt.Errorf("process %d has no schedstat: the row needs a Linux kernel with CONFIG_SCHED_INFO", pid)
	}
	if err != nil {
		return u, err
	}
	for _, thread := range threads {
		stat, err := os.ReadFile(thread)
		if vanished(err) {
			continue
		}
		if err != nil {
			return u, err
		}
		used, err := cpuOf(stat)
		if err != nil {
			return u, err
		}
		u.cpu += used
	}
	u.rssAnon, err = sizeOf(status, "RssAnon")
	return u, err
}

// cpuOf returns the CPU time of a thread from its schedstat: the first field, in nanoseconds.
func cpuOf(schedstat []byte) (time.Duration, error) {
	first, _, _ := strings.Cut(string(schedstat), " ")
	ns, err := strconv.ParseInt(first, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("parse schedstat of a thread: %w", err)
	}
	return time.Duration(ns), nil
}

// sizeOf returns a size from /proc/PID/status, in bytes.
func sizeOf(status []byte, name string) (int64, error) {
	for line := range bytes.Lines(status) {
		rest, found := strings.CutPrefix(string(line), name+":")
		if !found {
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("parse status of a process: %w", err)
		}
		return kib << 10, nil
	}
	return 0, fmt.Errorf("status of a process has no %s", name)
}
