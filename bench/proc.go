package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// lookAt reads what /proc tells of a process.
func lookAt(pid int) (look, error) {
	l := look{at: time.Now()}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return l, err
	}
	if l.rss, err = sizeOf(status, "VmRSS"); err != nil {
		return l, err
	}
	// The sum over all threads, in nanoseconds: /proc/PID/stat counts in hundredths of a second, which is
	// as much as an idle process uses while it is looked at.
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err == nil && len(threads) == 0 {
		err = errors.New("no schedstat: is this a Linux kernel with CONFIG_SCHED_INFO?")
	}
	if err != nil {
		return l, err
	}
	for _, thread := range threads {
		stat, err := os.ReadFile(thread)
		if vanished(err) {
			continue
		}
		if err != nil {
			return l, err
		}
		used, err := cpuOf(stat)
		if err != nil {
			return l, err
		}
		l.cpu += used
	}
	l.rssAnon, err = sizeOf(status, "RssAnon")
	return l, err
}

// cpuOf reads what a thread has run from its schedstat: the first field, in nanoseconds.
func cpuOf(schedstat []byte) (time.Duration, error) {
	first, _, _ := strings.Cut(string(schedstat), " ")
	ns, err := strconv.ParseInt(first, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("schedstat of a thread: %w", err)
	}
	return time.Duration(ns), nil
}

// sizeOf reads a size from /proc/PID/status, in bytes.
func sizeOf(status []byte, name string) (int64, error) {
	for line := range bytes.Lines(status) {
		rest, found := strings.CutPrefix(string(line), name+":")
		if !found {
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("status of a process: %w", err)
		}
		return kib << 10, nil
	}
	return 0, fmt.Errorf("status of a process: no %s", name)
}
