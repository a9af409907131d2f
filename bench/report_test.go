package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files")

// sampleReport has a line of each kind: compared, absolute, without a target, failed.
func sampleReport() Report {
	trip := figure{"p50", seconds, reading{0, p50}, reading{1, p50}, "floor", ratioAtMost(2)}
	far := figure{"p99", seconds, reading{0, p99}, reading{1, p99}, "floor", goal{}}
	fast := figure{"rate", perSecond, reading{0, rate}, reading{}, "", aimed(atLeast(500_000))}
	ours, floors := sample{p50: 150e-6, p99: 1.9e-3, rate: 431_000}, sample{p50: 80e-6, p99: 600e-6, rate: 1.25}
	rounds := [][]sample{{ours, floors}, {ours, floors}}
	slow := figure{"rate", perSecond, reading{0, rate}, reading{1, rate}, "Ray", ratioAtLeast(100)}
	lines := []Line{newLine("round trip", trip, rounds), newLine("round trip", far, rounds), newLine("map", fast, rounds), newLine("wait", slow, rounds)}
	lines = append(lines, failedLines(row{name: "demo", figures: []figure{trip}})...)
	return Report{
		Machine: Machine{"Abacus 3000", 2, "linux/amd64", "go1.26.8", "2.15.2", "1.55.0", "abc1234"},
		Storage: "streams in memory", Beside: "Ray 2.60.0, which stores nothing", Scale: "quick", Rounds: 2,
		Start: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Seconds: 41.5,
		LoadStart: "0.10 0.20 0.30", LoadEnd: "1.10 0.40 0.30", Others: 0.07, Stolen: 0.01,
		Lines: lines,
	}
}

func TestTable(t *testing.T) { matchGolden(t, sampleReport(), "table.golden") }

// matchGolden compares what is printed of a report with a file of testdata.
func matchGolden(t *testing.T, r Report, name string) {
	t.Helper()
	var got bytes.Buffer
	if err := r.print(&got); err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.WriteFile(golden, got.Bytes(), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("got\n%s\nwant (-rewrite writes the file again)\n%s", got.Bytes(), want)
	}
}

func TestRatioText(t *testing.T) {
	for value, want := range map[float64]string{
		0: "0.00", 1.234: "1.23", 99.99: "99.99", 1234.4: "1,234", 0.1: "0.10", 0.0999: "0.100", 0.0123: "0.012", 0.000_17: "0.00017",
	} {
		if got := ratioText(value); got != want {
			t.Errorf("ratioText(%v): got %q, want %q", value, got, want)
		}
	}
}

func TestJSON(t *testing.T) {
	name := filepath.Join(t.TempDir(), "new", "report.json")
	want := sampleReport()
	if err := want.save(name); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var got Report
	if err := json.Unmarshal(text, &got); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("read back: got error %v and\n%+v\nwant\n%+v", err, got, want)
	}
	for _, field := range []string{`"natsServer": "2.15.2"`, `"loadEnd": "1.10 0.40 0.30"`, `"target": "ratio ≤ 2"`, `"verdict": "failed"`} {
		if !bytes.Contains(text, []byte(field)) {
			t.Errorf("got\n%s\nwant it to contain %s", text, field)
		}
	}
}
