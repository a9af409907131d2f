package main

import (
	"maps"
	"testing"
	"time"
)

func TestDescends(t *testing.T) {
	all := map[int]procStat{1: {pid: 1}, 7: {pid: 7, parent: 1}, 8: {pid: 8, parent: 7}, 9: {pid: 9, parent: 8}, 5: {pid: 5, parent: 4}}
	for pid, want := range map[int]bool{1: false, 7: false, 8: true, 9: true, 5: false} {
		if got := descends(all[pid], 7, all); got != want {
			t.Errorf("%d descends from 7: got %v, want %v", pid, got, want)
		}
	}
}

func TestParseProcStat(t *testing.T) {
	stat := "42 (ray::IDLE (a) b) S 41 1 1 0 -1 4194560 9 0 1 0 100 50 30 20 20 0 1 0 77 0 0"
	if got, err := parseProcStat(stat); err != nil || got != (procStat{pid: 42, parent: 41, used: 2 * time.Second}) {
		t.Errorf("got %+v and error %v, want pid 42, parent 41, used 2 s", got, err)
	}
	for _, stat := range []string{"", "42 (a) S 41", "x (a) Z 41 1 1 0 -1 0 9 0 1 0 100 50 30 20", "42 (a) Z 41 1 1 0 -1 0 9 0 1 0 a b c d"} {
		if got, err := parseProcStat(stat); err == nil {
			t.Errorf("%q: got %+v, want an error", stat, got)
		}
	}
}

func TestSizeOf(t *testing.T) {
	status := []byte("Name:\tVmRSS: 7 kB\nVmRSS:\t   21600 kB\nRssAnon:\tmany kB\n")
	if got, err := sizeOf(status, "VmRSS"); err != nil || got != 21600<<10 {
		t.Errorf("got %d and error %v, want %d", got, err, 21600<<10)
	}
	for _, name := range []string{"RssAnon", "RssFile"} {
		if got, err := sizeOf(status, name); err == nil {
			t.Errorf("%s: got %d, want an error", name, got)
		}
	}
}

func TestCPUOf(t *testing.T) {
	if got, err := cpuOf([]byte("28110000 1091977 51\n")); err != nil || got != 28110*time.Microsecond {
		t.Errorf("got %v and error %v, want %v", got, err, 28110*time.Microsecond)
	}
	if got, err := cpuOf([]byte("\n")); err == nil {
		t.Errorf("of an empty schedstat: got %v, want an error", got)
	}
}

func TestSince(t *testing.T) {
	start := time.Now()
	former := usage{at: start, cpu: 30 * time.Millisecond}
	now := usage{at: start.Add(10 * time.Second), cpu: 50 * time.Millisecond, rss: 20, rssAnon: 5}
	got := now.since(former)
	if want := (sample{share: 0.002, rss: 20, rssAnon: 5}); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestJiffies(t *testing.T) {
	then := parseJiffies("cpu  1000 0 500 8000 0 0 0 100 0 0\ncpu0 1 2 3\n")
	now := parseJiffies("cpu  1600 20 680 8100 50 0 0 150 0 0\n")
	then.ours, now.ours = time.Second, 5*time.Second
	// 10 s of CPU time: 8 s busy, 4 of them ours; 1.5 s idle, 0.5 s stolen.
	if others, stolen := now.since(then); others != 0.4 || stolen != 0.05 {
		t.Errorf("got others %v, stolen %v, want 0.4, 0.05", others, stolen)
	}
	if others, stolen := (jiffies{}).since(jiffies{}); others != 0 || stolen != 0 {
		t.Errorf("without /proc/stat: got others %v, stolen %v, want 0, 0", others, stolen)
	}
	for _, stat := range []string{"", "intr 1 2 3 4 5 6 7 8", "cpu 1 2 3", "cpu a b c d e f g h"} {
		if got := parseJiffies(stat); got != (jiffies{}) {
			t.Errorf("%q: got %+v, want zero", stat, got)
		}
	}
}

func TestCPUModel(t *testing.T) {
	info := "processor\t: 0\nmodel name\t: Abacus 3000 @ 1 Hz\nmodel name\t: another\n"
	if got := cpuModel([]byte(info)); got != "Abacus 3000 @ 1 Hz" {
		t.Errorf("got %q, want %q", got, "Abacus 3000 @ 1 Hz")
	}
	if got := cpuModel(nil); got != "unknown" {
		t.Errorf("of an empty file: got %q, want %q", got, "unknown")
	}
}
