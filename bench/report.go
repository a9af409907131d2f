package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Report is the result of a run, and the content of the JSON file.
type Report struct {
	Machine Machine `json:"machine"`
	Storage string  `json:"storage"`           // of the streams, in every row that does not say otherwise
	Beside  string  `json:"beside,omitempty"`  // versions of the other system, and what it stores; with -ray
	Against string  `json:"against,omitempty"` // folder and commit of the other checkout, whose figures are "other" in the lines; with -against
	Scale   string  `json:"scale"`
	Rounds  int     `json:"rounds"`

	Start     time.Time `json:"start"`
	Seconds   float64   `json:"seconds"`
	LoadStart string    `json:"loadStart"` // averages over 1, 5 and 15 minutes
	LoadEnd   string    `json:"loadEnd"`
	Others    float64   `json:"others"` // fraction of the machine's CPU time that other processes used
	Stolen    float64   `json:"stolen"` // fraction that other virtual machines on the same host took

	Lines []Line `json:"lines"`

	before jiffies
}

func newReport(sc scale, beside string) Report {
	return Report{
		Machine: thisMachine(), Storage: "streams in memory, nothing synced, server in the process", Beside: beside,
		Scale: sc.name, Rounds: sc.rounds, Start: time.Now(), LoadStart: load(), Lines: []Line{},
		before: readJiffies(),
	}
}

// end sets the fields that are known after the last row.
func (r *Report) end() {
	r.Seconds, r.LoadEnd = time.Since(r.Start).Seconds(), load()
	r.Others, r.Stolen = readJiffies().since(r.before)
}

// save writes the report as JSON to a file, and creates its folder.
func (r Report) save(name string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err == nil {
		err = os.MkdirAll(filepath.Dir(name), 0o777)
	}
	if err == nil {
		err = os.WriteFile(name, append(text, '\n'), 0o666)
	}
	if err != nil {
		return fmt.Errorf("-json: %w", err)
	}
	return nil
}

// print writes the report as text.
func (r Report) print(w io.Writer) error {
	var b strings.Builder
	m := r.Machine
	fmt.Fprintf(&b, "%s, %d cores, %s; %s, nats-server %s, nats.go %s; commit %s\n",
		m.CPU, m.Cores, m.OS, m.Go, m.Server, m.Client, m.Commit)
	fmt.Fprintf(&b, "%s; %s\n", r.Storage, r.Start.Format(time.DateTime))
	if r.Beside != "" {
		fmt.Fprintf(&b, "beside %s\n", r.Beside)
	}
	if r.Against != "" {
		fmt.Fprintf(&b, "against the checkout %s; both builds in turn, each round in a process of its own\n", r.Against)
	}
	fmt.Fprintf(&b, "%s run of %.0f s, medians of %d rounds; load average %s at the start, %s at the end;"+
		" of the CPU time, other processes took %.0f %%, other machines %.0f %%\n\n",
		r.Scale, r.Seconds, r.Rounds, r.LoadStart, r.LoadEnd, 100*r.Others, 100*r.Stolen)
	r.table().write(&b)
	if r.Against != "" {
		fmt.Fprintf(&b, "\n%s\n", marksText(r.Rounds))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// table returns the lines in columns. The table of a comparison needs no columns for the target and the other side.
func (r Report) table() *table {
	t := &table{right: []int{2, 3, 5}}
	titles := []string{"row", "figure", "ours", "other", "the other is", "ratio", "range", "target", ""}
	columns := func(cells []string) []string { return cells }
	if r.Against != "" {
		t.right = []int{2, 3, 4}
		columns = func(cells []string) []string { return slices.Concat(cells[:4], cells[5:7], cells[8:]) }
	}
	t.add(columns(titles)...)
	last := ""
	for _, l := range r.Lines {
		t.add(columns(l.cells(l.Row == last))...)
		last = l.Row
	}
	return t
}

// cells returns the columns of the line. Only the first line of a row has its name; again is false for it.
func (l Line) cells(again bool) []string {
	cells := []string{l.Row, l.Figure, "", "", l.Against, "", "", l.Target, l.Verdict}
	if again {
		cells[0] = ""
	}
	if l.Verdict != failed {
		cells[2] = l.Unit.text(l.Ours)
	}
	if l.Other != 0 {
		cells[3] = l.Unit.text(l.Other)
		cells[5] = ratioText(l.Ratio)
		cells[6] = ratioText(l.Low) + "–" + ratioText(l.High)
	}
	return cells
}

// ratioText has two digits after the point: more below 0.1, none from 100 on.
func ratioText(v float64) string {
	switch {
	case v >= 100:
		return thousands(v)
	case v >= 0.1 || v <= 0:
		return fmt.Sprintf("%.2f", v)
	}
	digits := 1 - int(math.Floor(math.Log10(v))) // two digits that are not leading zeros
	return fmt.Sprintf("%.*f", digits, v)
}
