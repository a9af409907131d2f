package main

import (
	"os"
	"testing"
	"time"
)

func TestLookAtThisProcess(t *testing.T) {
	l, err := lookAt(os.Getpid())
	if err != nil || l.cpu <= 0 || l.rss <= 0 || l.rssAnon <= 0 || l.rssAnon > l.rss {
		t.Errorf("%v; got %+v", err, l)
	}
}

func TestSizeOf(t *testing.T) {
	status := []byte("Name:\tVmRSS: 7 kB\nVmRSS:\t   21600 kB\nRssAnon:\tmany kB\n")
	if got, err := sizeOf(status, "VmRSS"); err != nil || got != 21600<<10 {
		t.Errorf("got %d, %v", got, err)
	}
	for _, name := range []string{"RssAnon", "RssFile"} {
		if got, err := sizeOf(status, name); err == nil {
			t.Errorf("%s: got %d and no error", name, got)
		}
	}
}

func TestCPUOf(t *testing.T) {
	if got, err := cpuOf([]byte("28110000 1091977 51\n")); err != nil || got != 28110*time.Microsecond {
		t.Errorf("got %v, %v", got, err)
	}
	if got, err := cpuOf([]byte("\n")); err == nil {
		t.Errorf("got %v and no error", got)
	}
}

func TestSince(t *testing.T) {
	start := time.Now()
	former := look{at: start, cpu: 30 * time.Millisecond}
	now := look{at: start.Add(10 * time.Second), cpu: 50 * time.Millisecond, rss: 20, rssAnon: 5}
	got := now.since(former)
	if got[share] != 0.002 || got[rss] != 20 || got[rssAnon] != 5 {
		t.Errorf("got %v", got)
	}
}

func TestJiffies(t *testing.T) {
	then := parseJiffies("cpu  1000 0 500 8000 0 0 0 100 0 0\ncpu0 1 2 3\n")
	now := parseJiffies("cpu  1600 20 680 8100 50 0 0 150 0 0\n")
	then.ours, now.ours = time.Second, 5*time.Second
	// 10 s of CPU time: 8 s busy, 4 of them ours; 1.5 s idle, 0.5 s stolen.
	if others, stolen := now.since(then); others != 0.4 || stolen != 0.05 {
		t.Errorf("others %v, stolen %v", others, stolen)
	}
	if others, stolen := (jiffies{}).since(jiffies{}); others != 0 || stolen != 0 {
		t.Errorf("where nothing is told: others %v, stolen %v", others, stolen)
	}
	for _, stat := range []string{"", "intr 1 2 3 4 5 6 7 8", "cpu 1 2 3", "cpu a b c d e f g h"} {
		if got := parseJiffies(stat); got != (jiffies{}) {
			t.Errorf("%q: %+v", stat, got)
		}
	}
}

func TestCPUModel(t *testing.T) {
	info := "processor\t: 0\nmodel name\t: Abacus 3000 @ 1 Hz\nmodel name\t: another\n"
	if got := cpuModel([]byte(info)); got != "Abacus 3000 @ 1 Hz" {
		t.Errorf("got %q", got)
	}
	if got := cpuModel(nil); got != "unknown" {
		t.Errorf("of nothing: %q", got)
	}
}
