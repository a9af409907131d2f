package deps

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// checks are the house rules, each proved by testdata/NAME.txt.
var checks = []check{
	{"floors", checkFloors},
	{"nats", checkNATS},
	{"environment", checkEnvironment},
	{"sleep", checkSleep},
	{"skip", checkSkip},
	{"size", checkSize},
	{"signature", checkSignature},
	{"filename", checkFilename},
	{"mark", checkMark},
	{"packagedoc", checkPackageDoc},
	{"exported", checkExported},
	{"goroutine", checkGoroutine},
}

// exceptions excuse single faults. The key is the check, the file, and the function or other name
// that the fault speaks of, as in "sleep: engine/grain_test.go BenchmarkBusy"; the value is the
// reason.
var exceptions = map[string]string{}

// A check reads the tree and returns what breaks one rule.
type check struct {
	name string
	run  func(*tree) []fault
}

// A fault is one breach of one rule.
type fault struct {
	file string // from the repository's root; empty if the fault is the whole tree's
	line int    // 0 if the fault is the whole file's
	name string // the function, type or import concerned; empty if the fault is the whole file's
	says string // what is wrong, and what to do instead
}

// key names the fault in exceptions.
func (f fault) key(check string) string {
	return strings.Join(strings.Fields(check+": "+f.file+" "+f.name), " ")
}

func (f fault) String() string {
	switch {
	case f.file == "":
		return f.says
	case f.line == 0:
		return fmt.Sprintf("%s: %s", f.file, f.says)
	}
	return fmt.Sprintf("%s:%d: %s", f.file, f.line, f.says)
}

// faults runs the check and returns what it found, in the order of the source.
func (c check) faults(t *tree) []fault {
	found := c.run(t)
	slices.SortStableFunc(found, func(a, b fault) int {
		return cmp.Or(cmp.Compare(a.file, b.file), cmp.Compare(a.line, b.line), cmp.Compare(a.says, b.says))
	})
	return found
}

// unexcused returns the faults that no exception excuses, and notes in used which exceptions did.
func (c check) unexcused(t *tree, exceptions map[string]string, used map[string]bool) []fault {
	return slices.DeleteFunc(c.faults(t), func(f fault) bool {
		key := f.key(c.name)
		_, excused := exceptions[key]
		used[key] = used[key] || excused
		return excused
	})
}

// idle returns what is wrong with the exceptions themselves, once all checks have run.
func idle(exceptions map[string]string, used map[string]bool) []string {
	var says []string
	for key, reason := range exceptions {
		if reason == "" {
			says = append(says, fmt.Sprintf("exception %q has no reason: write one", key))
		}
		if !used[key] {
			says = append(says, fmt.Sprintf("exception %q excuses nothing: remove it, or correct its key", key))
		}
	}
	slices.Sort(says)
	return says
}

// repository reads the tree that this test is part of.
func repository(t *testing.T) *tree {
	house, err := loadTree(os.DirFS("../.."))
	if err != nil {
		t.Fatalf("cannot read the repository: %v", err)
	}
	if len(house.files) == 0 {
		t.Fatal("found no Go file: is this test still two folders below the root?")
	}
	return house
}

func TestHouse(t *testing.T) {
	house := repository(t)
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			for _, f := range c.unexcused(house, exceptions, map[string]bool{}) {
				t.Error(f)
			}
		})
	}
}

func TestExceptions(t *testing.T) {
	house := repository(t)
	used := map[string]bool{}
	for _, c := range checks {
		c.unexcused(house, exceptions, used)
	}
	for _, says := range idle(exceptions, used) {
		t.Error(says)
	}
}

// TestExceptionsExcuse shows what a key looks like, and that none can be forgotten in the list.
func TestExceptionsExcuse(t *testing.T) {
	module, err := loadTree(fstest.MapFS{"queues/util.go": {Data: []byte(`package queues
		import "time"
		func (p *puller) rest() { time.Sleep(1) }
		func nap() { time.Sleep(1) }
	`)}})
	if err != nil {
		t.Fatal(err)
	}
	excepted := map[string]string{
		"sleep: queues/util.go (*puller).rest": "a slow user",
		"filename: queues/util.go":             "",
		"sleep: queues/util.go doze":           "gone",
	}
	used := map[string]bool{}
	var left []string
	for _, c := range []check{{"sleep", checkSleep}, {"filename", checkFilename}} {
		for _, f := range c.unexcused(module, excepted, used) {
			left = append(left, f.key(c.name))
		}
	}
	if want := []string{"sleep: queues/util.go nap"}; !slices.Equal(left, want) {
		t.Errorf("left %q, want %q", left, want)
	}
	want := []string{
		`exception "filename: queues/util.go" has no reason: write one`,
		`exception "sleep: queues/util.go doze" excuses nothing: remove it, or correct its key`,
	}
	if got := idle(excepted, used); !slices.Equal(got, want) {
		t.Errorf("idle says %q, want %q", got, want)
	}
}
