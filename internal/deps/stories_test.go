package deps

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/cockroachdb/datadriven"
)

// TestStories runs each check over the small modules in testdata/NAME.txt. A story writes files and checks them. Each check
// must find a fault in at least one story, and none in at least one other:
//
//	file PATH    writes a file; a line "… 70 lines …" stands for 70 lines
//	check        checks the files written since the last check
//
// With -rewrite it writes the faults that it finds into the stories: read the diff.
func TestStories(t *testing.T) {
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			failed, passed := false, false
			module := fstest.MapFS{}
			datadriven.RunTest(t, "testdata/"+c.name+".txt", func(t *testing.T, d *datadriven.TestData) string {
				switch d.Cmd {
				case "file":
					module[d.CmdArgs[0].Key] = &fstest.MapFile{Data: unfold(d.Input)}
					return ""
				case "check":
					text := report(t, c, module)
					failed, passed = failed || text != "ok", passed || text == "ok"
					clear(module)
					return text
				}
				d.Fatalf(t, "unknown command %q", d.Cmd)
				return ""
			})
			if !failed || !passed {
				t.Errorf("found a fault: got %t, want true in one story; found none: got %t, want true in another", failed, passed)
			}
		})
	}
}

// report runs the check over the module and returns its faults, one on each line.
func report(t *testing.T, c check, module fstest.MapFS) string {
	checked, err := loadTree(module)
	if err != nil {
		t.Fatal(err)
	}
	faults := c.faults(checked)
	if len(faults) == 0 {
		return "ok"
	}
	var lines strings.Builder
	for _, f := range faults {
		fmt.Fprintln(&lines, f)
	}
	return lines.String()
}

var folded = regexp.MustCompile(`(?m)^\s*… (\d+) lines …$`)

// unfold replaces each line "… 70 lines …" with 70 empty comments.
func unfold(source string) []byte {
	return folded.ReplaceAllFunc([]byte(source+"\n"), func(match []byte) []byte {
		count, err := strconv.Atoi(string(folded.FindSubmatch(match)[1]))
		if err != nil {
			panic(err) // the pattern takes digits only
		}
		return bytes.TrimSuffix(bytes.Repeat([]byte("//\n"), count), []byte("\n"))
	})
}
