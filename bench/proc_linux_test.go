package main

import (
	"os"
	"testing"
)

func TestUsageOf(t *testing.T) {
	l, err := usageOf(os.Getpid())
	if err != nil || l.cpu <= 0 || l.rss <= 0 || l.rssAnon <= 0 || l.rssAnon > l.rss {
		t.Errorf("got %+v and error %v, want CPU time, RSS, and an anonymous part of it", l, err)
	}
}

func TestUsageOfTree(t *testing.T) {
	alone, err := usageOfTree(os.Getpid())
	if err != nil || alone.cpu <= 0 || alone.rss <= 0 {
		t.Fatalf("got %+v and error %v, want CPU time and RSS", alone, err)
	}
	p, err := startProcess(t.Context(), bareProgram)
	if err != nil {
		t.Fatal(err)
	}
	both, err := usageOfTree(os.Getpid())
	child, err1 := usageOf(p.pid())
	if want := child.rss + alone.rss/2; err != nil || err1 != nil || both.rss < want {
		t.Errorf("with a child: got RSS %d and errors %v, %v, want at least %d", both.rss, err, err1, want)
	}
	if err := p.end(); err != nil {
		t.Errorf("end: got error %v, want none", err)
	}
	if got, err := usageOfTree(p.pid()); err == nil {
		t.Errorf("of a process that has ended: got %+v, want an error", got)
	}
}
