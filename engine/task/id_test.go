package task_test

import (
	"math"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/engine/task"
)

func TestID(t *testing.T) {
	id := task.ID{Owner: "kestrel-4f2a", Number: math.MaxUint64}
	if got := id.String(); got != "kestrel-4f2a/18446744073709551615" {
		t.Errorf("String: got %q, want %q", got, "kestrel-4f2a/18446744073709551615")
	}
	for id, zero := range map[task.ID]bool{{}: true, {Number: 1}: false, {Owner: "o"}: false, id: false} {
		if id.IsZero() != zero {
			t.Errorf("%v is zero: got %v, want %v", id, id.IsZero(), zero)
		}
	}
}

// A name is one token of a subject: without dots, wildcards and spaces.
func TestCheckName(t *testing.T) {
	for name, good := range map[string]bool{
		"square": true, "node-1": true, "a_b": true, "7": true, "-": true, strings.Repeat("n", 64): true,
		"": false, "Square": false, "a.b": false, "*": false, ">": false, "a b": false, "a\n": false, "ö": false,
		strings.Repeat("n", 65): false, "a\x00": false, "$KV": false,
	} {
		err := task.CheckName("node", name)
		if (err == nil) != good {
			t.Errorf("CheckName(%q): got %v, want an error: %t", name, err, !good)
		}
		if err != nil && !strings.HasPrefix(err.Error(), "task: node name ") {
			t.Errorf("CheckName(%q): got %q, want it to begin with %q", name, err, "task: node name ")
		}
	}
}
