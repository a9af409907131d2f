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

// A procStat is the part of /proc/PID/stat that is needed here.
type procStat struct {
	pid, parent int
	zombie      bool          // has ended, and its parent has not waited for it yet
	used        time.Duration // CPU time of this process and of the children that it has waited for
}

// The fields of /proc/PID/stat, counted from the one after the name.
const (
	stateField  = 0
	parentField = 1
	firstUsed   = 11 // user and system time, then those of children that it has waited for
	lastUsed    = 14
)

// parseProcStat parses /proc/PID/stat: PID (NAME) STATE PARENT and more. The name may have spaces and parentheses.
func parseProcStat(stat string) (p procStat, err error) {
	pid, _, _ := strings.Cut(stat, " ")
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) <= lastUsed {
		return p, fmt.Errorf("stat of a process has %d fields after the name, want more than %d", len(fields), lastUsed)
	}
	var err1, err2 error
	p.zombie = fields[stateField] == "Z"
	p.pid, err1 = strconv.Atoi(pid)
	p.parent, err2 = strconv.Atoi(fields[parentField])
	if err := errors.Join(err1, err2); err != nil {
		return p, fmt.Errorf("parse stat of a process: %w", err)
	}
	for _, field := range fields[firstUsed : lastUsed+1] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return p, fmt.Errorf("parse stat of a process: %w", err)
		}
		p.used += time.Duration(n) * tick
	}
	return p, nil
}

// processTree returns a process and all of its descendants.
func processTree(root int) ([]procStat, error) {
	all, err := allProcesses()
	if err != nil {
		return nil, err
	}
	var tree []procStat
	for pid, p := range all {
		if pid == root || descends(p, root, all) {
			tree = append(tree, p)
		}
	}
	return tree, nil
}

// descends reports whether root is an ancestor of the process.
func descends(p procStat, root int, all map[int]procStat) bool {
	for p.parent != 0 && p.parent != root {
		p = all[p.parent] // the zero procStat if the parent has ended meanwhile
	}
	return p.parent == root
}

// allProcesses returns all processes except zombies, by PID.
func allProcesses() (map[int]procStat, error) {
	if err := needProc(); err != nil {
		return nil, err
	}
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	all := map[int]procStat{}
	for _, name := range stats {
		stat, err := os.ReadFile(name)
		if vanished(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		p, err := parseProcStat(string(stat))
		if err != nil {
			return nil, err
		}
		if !p.zombie {
			all[p.pid] = p
		}
	}
	return all, nil
}

// vanished reports whether the error is of a process, or a thread, that has ended.
func vanished(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) }

// cpuOfTree returns the CPU time of a process and its descendants, and 0 if it is not known.
func cpuOfTree(root int) (used time.Duration) {
	tree, _ := processTree(root) // on an error, their CPU time counts as that of other processes
	for _, p := range tree {
		used += p.used
	}
	return used
}

// usageOfTree returns the usage of a process and its descendants.
func usageOfTree(root int) (sum usage, err error) {
	tree, err := processTree(root)
	if err == nil && len(tree) == 0 {
		err = fmt.Errorf("process %d has ended", root)
	}
	if err != nil {
		return sum, err
	}
	sum.at = time.Now()
	for _, p := range tree {
		u, err := usageOf(p.pid)
		if vanished(err) {
			continue
		}
		if err != nil {
			return sum, err
		}
		sum.cpu, sum.rss, sum.rssAnon = sum.cpu+u.cpu, sum.rss+u.rss, sum.rssAnon+u.rssAnon
	}
	return sum, nil
}
