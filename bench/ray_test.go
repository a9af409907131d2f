package main

import (
	"bytes"
	"encoding/json"
	"io"
	"log"
	"os"
	"strings"
	"testing"
)

// replyLikeRay replies to a request with figures, if ray/side.py has the round.
func replyLikeRay(r request) string {
	side, err := os.ReadFile(raySide)
	if err != nil || !bytes.Contains(side, []byte("\ndef "+r.Round+"(")) || !bytes.Contains(side, []byte("    "+r.Round+",\n")) {
		return `{"error": "ray/side.py has no such round"}`
	}
	line, err := json.Marshal(reply{Sample: sample{elapsed: 1, rate: 1, p50: 1, p99: 1}})
	if err != nil {
		panic(err)
	}
	return string(line)
}

func TestRayRows(t *testing.T) {
	beside := ray{commandOf(t, "ray")}
	for _, w := range beside.rows() {
		t.Run(w.name, func(t *testing.T) { runTiny(t, w) })
	}
}

func TestRayVersions(t *testing.T) {
	self := commandOf(t, "python")[0]
	if got, err := rayVersions(t.Context(), self); err != nil || !strings.HasPrefix(got, "Ray 9.9, Python 9; ") {
		t.Errorf("got %q and error %v, want the versions of Ray and Python", got, err)
	}
	commandOf(t, "no ray")
	for python, want := range map[string]string{self: "No module named 'ray'", "/no/such/python": "no such file"} {
		_, err := rayVersions(t.Context(), python)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "install Ray by `make bench-ray`") {
			t.Errorf("%s: got error %v, want one with %q and how to install Ray", python, err, want)
		}
	}
}

func TestNoPython(t *testing.T) {
	var notes bytes.Buffer
	got := command(t.Context(), []string{"-ray", "/no/such/python"}, io.Discard, log.New(&notes, "", 0))
	if got != 1 || !strings.Contains(notes.String(), "/no/such/python") {
		t.Errorf("got exit code %d and messages %q, want 1 and one with the name of the Python", got, notes.String())
	}
}
