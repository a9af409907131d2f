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
		t.Errorf("%v; got %+v", err, s)
	}
	if len(s.rows) != 2 || s.rows[0].name != "map" || s.rows[1].name != "start" {
		t.Errorf("chosen are %+v", s.rows)
	}
}

func TestDefaults(t *testing.T) {
	s, err := parseSettings(nil, &bytes.Buffer{})
	if err != nil || s.scale.name != "full" || s.scale.rounds != 11 || len(s.rows) != len(rows()) {
		t.Errorf("%v; got %+v", err, s)
	}
}

func TestSettingsBesideRay(t *testing.T) {
	s, err := parseSettings([]string{"-ray", "python"}, &bytes.Buffer{})
	if err != nil || s.scale.rounds != 7 || len(s.rows) != len(rayBy("").rows()) || s.json != filepath.Join("results", "ray.json") {
		t.Errorf("%v; got %+v", err, s)
	}
	if s, err = parseSettings([]string{"-ray", "python", "-quick", "-json", "x.json"}, &bytes.Buffer{}); err != nil || s.scale.rounds != 3 || s.json != "x.json" {
		t.Errorf("%v; got %+v", err, s)
	}
}

func TestSettingsAgainst(t *testing.T) {
	s, err := parseSettings([]string{"-against", "x", "-quick", "-run", "^map$"}, &bytes.Buffer{})
	if want := filepath.Join("results", "against.json"); err != nil || s.against != "x" || s.json != want || s.scale.name != "quick" || len(s.rows) != 1 {
		t.Errorf("got %+v and error %v, want -against x, JSON in %s, quick, one row", s, err, want)
	}
}

// A folder that is not a checkout is found out before anything is built or measured.
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
		"-run nix":            "round trip", // the list of what there is
		"-cpuprofile cpu.out": "one row",
	} {
		if _, err := parseSettings(strings.Fields(args), &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want it to say %q", args, err, want)
		}
	}
}

func TestHelp(t *testing.T) {
	var help bytes.Buffer
	if _, err := parseSettings([]string{"-h"}, &help); !errors.Is(err, errHelp) {
		t.Error(err)
	}
	for _, want := range []string{"usage: go run", "-quick", "-against", "results/latest.json", "naive grain", "ray: tasks sync"} {
		if !strings.Contains(help.String(), want) {
			t.Errorf("it does not speak of %q:\n%s", want, help.String())
		}
	}
}

func TestExitCodes(t *testing.T) {
	for args, want := range map[string]int{"-h": 0, "-nix": 2} {
		if got := command(t.Context(), []string{args}, io.Discard, log.New(io.Discard, "", 0)); got != want {
			t.Errorf("%s: exit code %d, want %d", args, got, want)
		}
	}
}
