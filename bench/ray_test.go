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

// likeRay answers what ray/side.py has a function for.
func likeRay(r request) string {
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

func TestRowsBesideRay(t *testing.T) {
	beside := ray{commandOf(t, "ray")}
	for _, w := range beside.rows() {
		t.Run(w.name, func(t *testing.T) { runTiny(t, w) })
	}
}

func TestRayVersions(t *testing.T) {
	self := commandOf(t, "python")[0]
	if got, err := rayVersions(t.Context(), self); err != nil || !strings.HasPrefix(got, "Ray 9.9, Python 9; ") {
		t.Errorf("%v; got %q", err, got)
	}
	commandOf(t, "no ray")
	for python, want := range map[string]string{self: "No module named 'ray'", "/no/such/python": "no such file"} {
		_, err := rayVersions(t.Context(), python)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "`make bench-ray` installs") {
			t.Errorf("%s: %v; want it to say %q", python, err, want)
		}
	}
}

func TestNoPython(t *testing.T) {
	var notes bytes.Buffer
	got := command(t.Context(), []string{"-ray", "/no/such/python"}, io.Discard, log.New(&notes, "", 0))
	if got != 1 || !strings.Contains(notes.String(), "/no/such/python") {
		t.Errorf("exit code %d, noted %q", got, notes.String())
	}
}
