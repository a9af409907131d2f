package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// kin is what /proc/PID/stat tells of a process.
type kin struct {
	pid, parent int
	zombie      bool          // has nothing any more
	used        time.Duration // CPU time, of this process and of the children that it has waited for
}

// The fields of /proc/PID/stat, counted from the one after the name.
const (
	stateField  = 0
	parentField = 1
	firstUsed   = 11 // user and system time, then those of children that were waited for
	lastUsed    = 14
)

// kinOf reads /proc/PID/stat: PID (NAME) STATE PARENT and more. The name may have blanks and parentheses.
func kinOf(stat string) (k kin, err error) {
	pid, _, _ := strings.Cut(stat, " ")
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) <= lastUsed {
		return k, fmt.Errorf("stat of a process has %d fields", len(fields))
	}
	var err1, err2 error
	k.zombie = fields[stateField] == "Z"
	k.pid, err1 = strconv.Atoi(pid)
	k.parent, err2 = strconv.Atoi(fields[parentField])
	if err := errors.Join(err1, err2); err != nil {
		return k, fmt.Errorf("stat of a process: %w", err)
	}
	for _, field := range fields[firstUsed : lastUsed+1] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return k, fmt.Errorf("stat of a process: %w", err)
		}
		k.used += time.Duration(n) * tick
	}
	return k, nil
}

// familyOf returns the process and all that descend from it.
func familyOf(root int) ([]kin, error) {
	all, err := everybody()
	if err != nil {
		return nil, err
	}
	var family []kin
	for pid, k := range all {
		if pid == root || descends(k, root, all) {
			family = append(family, k)
		}
	}
	return family, nil
}

// descends tells whether the root is above the process.
func descends(k kin, root int, all map[int]kin) bool {
	for k.parent != 0 && k.parent != root {
		k = all[k.parent] // nobody's child if it has ended meanwhile
	}
	return k.parent == root
}

// everybody returns all processes that are no zombies.
func everybody() (map[int]kin, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	all := map[int]kin{}
	for _, name := range stats {
		stat, err := os.ReadFile(name)
		if vanished(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		k, err := kinOf(string(stat))
		if err != nil {
			return nil, err
		}
		if !k.zombie {
			all[k.pid] = k
		}
	}
	return all, nil
}

// vanished tells whether the process, or the thread, ended while it was looked at.
func vanished(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) }

// usedBy returns the CPU time of a process and its descendants, as far as it is known.
func usedBy(root int) (used time.Duration) {
	family, _ := familyOf(root) // without it, it counts as others'
	for _, k := range family {
		used += k.used
	}
	return used
}

// lookAtFamily adds up what the system tells of a process and its descendants.
func lookAtFamily(root int) (sum look, err error) {
	family, err := familyOf(root)
	if err == nil && len(family) == 0 {
		err = fmt.Errorf("process %d has ended", root)
	}
	if err != nil {
		return sum, err
	}
	sum.at = time.Now()
	for _, k := range family {
		l, err := lookAt(k.pid)
		if vanished(err) {
			continue
		}
		if err != nil {
			return sum, err
		}
		sum.cpu, sum.rss, sum.rssAnon = sum.cpu+l.cpu, sum.rss+l.rss, sum.rssAnon+l.rssAnon
	}
	return sum, nil
}
