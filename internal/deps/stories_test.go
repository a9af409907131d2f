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

// TestStories runs each check over the small modules of testdata/NAME.txt. A story writes files and
// has them judged, and every check must find a fault in one story and none in another:
//
//	file PATH    writes a file; a line "… 70 lines …" stands for so many
//	check        judges the files written since the last check
//
// Run it with -rewrite to take the faults found as those expected, and read the diff.
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
					report := judge(t, c, module)
					failed, passed = failed || report != "ok", passed || report == "ok"
					clear(module)
					return report
				}
				d.Fatalf(t, "unknown command %q", d.Cmd)
				return ""
			})
			if !failed || !passed {
				t.Error("the check must find a fault in one story and none in another")
			}
		})
	}
}

// judge runs the check over the module and returns its faults, one a line.
func judge(t *testing.T, c check, module fstest.MapFS) string {
	judged, err := loadTree(module)
	if err != nil {
		t.Fatal(err)
	}
	faults := c.faults(judged)
	if len(faults) == 0 {
		return "ok"
	}
	var report strings.Builder
	for _, f := range faults {
		fmt.Fprintln(&report, f)
	}
	return report.String()
}

var folded = regexp.MustCompile(`(?m)^\s*… (\d+) lines …$`)

// unfold writes out the lines that a story only counts, as empty comments.
func unfold(source string) []byte {
	return folded.ReplaceAllFunc([]byte(source+"\n"), func(match []byte) []byte {
		count, err := strconv.Atoi(string(folded.FindSubmatch(match)[1]))
		if err != nil {
			panic(err) // the pattern takes digits only
		}
		return bytes.TrimSuffix(bytes.Repeat([]byte("//\n"), count), []byte("\n"))
	})
}
