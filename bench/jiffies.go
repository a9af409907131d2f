package main

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// jiffies are the CPU times of the machine and of this process at one moment.
type jiffies struct {
	total, busy, stolen time.Duration // of all cores; zero if /proc/stat cannot be read
	ours                time.Duration // of this process and its descendants that have ended
}

// uncounted is the CPU time, in nanoseconds, of descendants that their parents have not waited for: getrusage does not
// count it as ours.
var uncounted atomic.Int64

// tick is the unit of /proc/stat: USER_HZ, which is 100 on every Linux.
const tick = time.Second / 100

func readJiffies() jiffies {
	stat, _ := os.ReadFile("/proc/stat") // on an error, the share of other processes is 0
	j := parseJiffies(string(stat))
	j.ours = ownCPUTime() + childrenCPUTime() + time.Duration(uncounted.Load())
	return j
}

// parseJiffies parses the first line of /proc/stat: user, nice, system, idle, iowait, irq, softirq and steal time. (The
// time of guests, which follows, is included in that of user.)
func parseJiffies(stat string) jiffies {
	line, _, _ := strings.Cut(stat, "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return jiffies{}
	}
	var j jiffies
	for i, field := range fields[1:9] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return jiffies{}
		}
		t := time.Duration(n) * tick
		j.total += t
		switch i {
		case 3, 4: // idle, iowait
		case 7:
			j.stolen = t
		default:
			j.busy += t
		}
	}
	return j
}

// since returns the fractions of the machine's CPU time since then that other processes and other virtual machines used.
func (j jiffies) since(then jiffies) (others, stolen float64) {
	total := (j.total - then.total).Seconds()
	if total <= 0 {
		return 0, 0
	}
	others = (j.busy - then.busy - (j.ours - then.ours)).Seconds() / total
	return max(others, 0), (j.stolen - then.stolen).Seconds() / total
}
