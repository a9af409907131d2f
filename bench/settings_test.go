package main

import (
	"bytes"
	"errors"
	"io"
	"log"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseSettings(t *testing.T) {
	s, err := parseSettings([]string{"-quick", "-rounds", "7", "-run", "^(map|start)$", "-json", "x.json"}, &bytes.Buffer{})
	if err != nil || s.scale.name != "quick" || s.scale.rounds != 7 || s.json != "x.json" {
		t.Errorf("got %+v and error %v, want quick, 7 rounds, x.json", s, err)
	}
	if len(s.rows) != 2 || s.rows[0].name != "map" || s.rows[1].name != "start" {
		t.Errorf("got rows\n%swant map and start", listRows(s.rows))
	}
}

func TestDefaults(t *testing.T) {
	s, err := parseSettings(nil, &bytes.Buffer{})
	if err != nil || s.scale.name != "full" || s.scale.rounds != 11 || len(s.rows) != len(rows()) {
		t.Errorf("got %+v and error %v, want full, 11 rounds, %d rows", s, err, len(rows()))
	}
}

func TestSettingsWithRay(t *testing.T) {
	s, err := parseSettings([]string{"-ray", "python"}, &bytes.Buffer{})
	if err != nil || s.scale.rounds != 7 || len(s.rows) != len(rayBy("").rows()) || s.json != filepath.Join("results", "ray.json") {
		t.Errorf("got %+v and error %v, want 7 rounds, all rows with Ray, results/ray.json", s, err)
	}
	if s, err = parseSettings([]string{"-ray", "python", "-quick", "-json", "x.json"}, &bytes.Buffer{}); err != nil || s.scale.rounds != 3 || s.json != "x.json" {
		t.Errorf("got %+v and error %v, want 3 rounds, x.json", s, err)
	}
}

func TestSettingsAgainst(t *testing.T) {
	s, err := parseSettings([]string{"-against", "x", "-quick", "-run", "^map$"}, &bytes.Buffer{})
	if want := filepath.Join("results", "against.json"); err != nil || s.against != "x" || s.json != want || s.scale.name != "quick" || len(s.rows) != 1 {
		t.Errorf("got %+v and error %v, want -against x, JSON in %s, quick, one row", s, err, want)
	}
}

// A folder that is not a checkout is an error before anything is built or measured.
func TestAgainstNothing(t *testing.T) {
	var notes, out bytes.Buffer
	got := command(t.Context(), []string{"-against", "/no/such/folder"}, &out, log.New(&notes, "", 0))
	if want := "bench: -against: /no/such/folder is not a checkout"; got != 1 || !strings.HasPrefix(notes.String(), want) || out.Len() > 0 {
		t.Errorf("got exit code %d, notes %q and output %q, want 1, %q and nothing", got, notes.String(), out.String(), want)
	}
}

func TestWrongSettings(t *testing.T) {
	for args, want := range map[string]string{
		"-nix":                "-h",
		"map":                 `unexpected argument "map"`,
		"-against x -ray y":   "exclude each other",
		"-against x -trace y": "excludes profiles",
		"-rounds -1":          "want 1 or more",
		"-run (":              "missing closing )",
		"-run nix":            "round trip", // from the list of rows
		"-cpuprofile cpu.out": "one row",
	} {
		if _, err := parseSettings(strings.Fields(args), &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got error %v, want one with %q", args, err, want)
		}
	}
}

func TestHelp(t *testing.T) {
	var help bytes.Buffer
	if _, err := parseSettings([]string{"-h"}, &help); !errors.Is(err, errHelp) {
		t.Errorf("got error %v, want %v", err, errHelp)
	}
	for _, want := range []string{"usage: go run", "-quick", "-against", "results/latest.json", "naive grain", "ray: tasks sync"} {
		if !strings.Contains(help.String(), want) {
			t.Errorf("got\n%s\nwant it to contain %q", help.String(), want)
		}
	}
}

func TestExitCodes(t *testing.T) {
	for args, want := range map[string]int{"-h": 0, "-nix": 2} {
		if got := command(t.Context(), []string{args}, io.Discard, log.New(io.Discard, "", 0)); got != want {
			t.Errorf("%s: got exit code %d, want %d", args, got, want)
		}
	}
}
