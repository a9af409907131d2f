package broken_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// In a build that breaks one rule, the tests named here fail.
func TestTestsOfABrokenRuleFail(t *testing.T) {
	for _, c := range []struct{ tag, test, pkg string }{
		{"ack_first", "TestModel", "engine/graph"},
		{"ack_first", "TestABatchIsAckedOnceItIsRecorded", "nodeagent"},
		{"last_wins", "TestModel", "engine/graph"},
		{"last_wins", "TestPastStories", "engine/graph"},
		{"trim_shared", "TestModel", "engine/graph"},
		{"trim_shared", "TestAJobGoesOn", "."},
		{"fold_first", "TestModelQuiet", "engine/graph"},
		{"forget_losses", "TestModel", "engine/graph"},
		{"forget_losses", "TestDispatchAfterANote", "engine/task"},
		{"forget_losses", "TestTooManyLossesAreAFailure", "engine/session"},
	} {
		t.Run(c.tag+"/"+c.test, func(t *testing.T) {
			command := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-timeout=5m", "-tags=broken,broken_"+c.tag,
				"-run=^"+c.test+"$", "./"+c.pkg)
			command.Dir = filepath.Join("..", "..")
			out, err := command.CombinedOutput()
			if err == nil || !strings.Contains(string(out), "--- FAIL: "+c.test) {
				t.Errorf("%s: got %v, want a failure of %s:\n%s", command, err, c.test, out[max(0, len(out)-2000):])
			}
		})
	}
}
