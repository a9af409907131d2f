package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
)

// A build is the bench program of one checkout. It is driven as a user drives it, by flags and the file of -json, which
// builds that are older than -against have as well.
type build struct {
	folder  string   // bench in its checkout, absolute: rows run there, since some build programs of their checkout
	command []string // the program, absolute
}

// errNoRow says that a build does not have a row. Its text is how another build says so, and may not change.
var errNoRow = errors.New("no such row")

var moduleLine = regexp.MustCompile(`(?m)^module github\.com/tidemill/tidemill/bench\s*$`)

// benchFolder returns the folder bench of the checkout in dir.
func benchFolder(dir string) (string, error) {
	folder, err := filepath.Abs(filepath.Join(dir, "bench"))
	if err != nil {
		return "", err
	}
	mod, err := os.ReadFile(filepath.Join(folder, "go.mod"))
	if err != nil {
		return "", fmt.Errorf("%s is not a checkout of Tidemill: %w", dir, err)
	}
	if !moduleLine.Match(mod) {
		return "", fmt.Errorf("%s is not a checkout of Tidemill: %s is of another module", dir, filepath.Join(folder, "go.mod"))
	}
	return folder, nil
}

// newBuild builds the bench program in folder, and writes it to the file program.
func newBuild(ctx context.Context, folder, program string) (build, error) {
	compile := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", program, ".")
	compile.Dir = folder
	if out, err := compile.CombinedOutput(); err != nil {
		return build{}, fmt.Errorf("go build in %s: %w\n%s", folder, err, out)
	}
	return build{folder, []string{program}}, nil
}

// round runs a row in a process of its own, which takes a warm-up and one round, and writes its report to the file
// result.
func (b build) round(ctx context.Context, sc scale, row, result string) (Report, error) {
	args := slices.Concat(b.command[1:], []string{"-run", "^" + regexp.QuoteMeta(row) + "$", "-rounds", "1", "-json", result})
	if sc.name == quickScale.name {
		args = append(args, "-quick")
	}
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, b.command[0], args...)
	cmd.Dir, cmd.Stderr = b.folder, &stderr
	cmd.Cancel = func() error { return terminate(cmd.Process) } // it may have children to end
	cmd.WaitDelay = killDelay
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return Report{}, context.Cause(ctx)
	case err != nil && bytes.Contains(stderr.Bytes(), []byte(errNoRow.Error())):
		return Report{}, errNoRow
	case err != nil:
		var end tail
		_, _ = end.Write(stderr.Bytes()) // which never fails
		return Report{}, fmt.Errorf("%s: %w%s", cmd, err, end.text())
	}
	text, err := os.ReadFile(result)
	if err != nil {
		return Report{}, fmt.Errorf("the report of %s: %w", cmd, err)
	}
	var r Report
	if err := json.Unmarshal(text, &r); err != nil {
		return Report{}, fmt.Errorf("the report of %s: %w", cmd, err)
	}
	return r, nil
}

// ourValues returns our side's values of a figure, by round. It finds none if a report lacks the figure.
func ourValues(rounds []Report, row, name string) (values []float64, found bool) {
	for _, r := range rounds {
		i := slices.IndexFunc(r.Lines, func(l Line) bool { return l.Row == row && l.Figure == name })
		if i < 0 {
			return nil, false
		}
		values = append(values, r.Lines[i].Ours)
	}
	return values, len(values) > 0
}
