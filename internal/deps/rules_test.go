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

// checks are the rules. The stories in testdata/NAME.txt show what each check finds.
var checks = []check{
	{"layers", checkLayers},
	{"nats", checkNATS},
	{"environment", checkEnvironment},
	{"sleep", checkSleep},
	{"skip", checkSkip},
	{"size", checkSize},
	{"signature", checkSignature},
	{"fields", checkFields},
	{"filename", checkFilename},
	{"mark", checkMark},
	{"packagedoc", checkPackageDoc},
	{"exported", checkExported},
	{"goroutine", checkGoroutine},
}

// exceptions are single faults that are accepted. The key is the check, the file, and the function or other name with the
// fault, as in "sleep: engine/grain_test.go BenchmarkBusy"; the value is the reason.
var exceptions = map[string]string{}

// A check finds where a tree breaks one rule.
type check struct {
	name string
	run  func(*tree) []fault
}

// A fault is one place where the tree breaks a rule.
type fault struct {
	file    string // relative to the repository's root; empty if the fault is that of the whole tree
	line    int    // 0 if the fault is that of the whole file
	name    string // the function, type or import with the fault; empty if the fault is that of the whole file
	message string // what is wrong, and what to do instead
}

// key returns the fault's key in exceptions.
func (f fault) key(check string) string {
	return strings.Join(strings.Fields(check+": "+f.file+" "+f.name), " ")
}

func (f fault) String() string {
	switch {
	case f.file == "":
		return f.message
	case f.line == 0:
		return fmt.Sprintf("%s: %s", f.file, f.message)
	}
	return fmt.Sprintf("%s:%d: %s", f.file, f.line, f.message)
}

// faults runs the check and returns what it found, in the order of the source.
func (c check) faults(t *tree) []fault {
	found := c.run(t)
	slices.SortStableFunc(found, func(a, b fault) int {
		return cmp.Or(cmp.Compare(a.file, b.file), cmp.Compare(a.line, b.line), cmp.Compare(a.message, b.message))
	})
	return found
}

// withoutExceptions returns the faults that are no exceptions, and sets the keys of the others in used.
func (c check) withoutExceptions(t *tree, exceptions map[string]string, used map[string]bool) []fault {
	return slices.DeleteFunc(c.faults(t), func(f fault) bool {
		key := f.key(c.name)
		_, excepted := exceptions[key]
		used[key] = used[key] || excepted
		return excepted
	})
}

// exceptionFaults returns what is wrong with the exceptions themselves, after all checks have run.
func exceptionFaults(exceptions map[string]string, used map[string]bool) []string {
	var messages []string
	for key, reason := range exceptions {
		if reason == "" {
			messages = append(messages, fmt.Sprintf("exception %q has no reason: write one", key))
		}
		if !used[key] {
			messages = append(messages, fmt.Sprintf("exception %q matches no fault: remove it, or correct its key", key))
		}
	}
	slices.Sort(messages)
	return messages
}

// repository parses the repository that this test is part of.
func repository(t *testing.T) *tree {
	repo, err := loadTree(os.DirFS("../.."))
	if err != nil {
		t.Fatalf("cannot read the repository: %v", err)
	}
	if len(repo.files) == 0 {
		t.Fatal("found no Go file: is this test still two folders below the root?")
	}
	return repo
}

func TestRules(t *testing.T) {
	repo := repository(t)
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			for _, f := range c.withoutExceptions(repo, exceptions, map[string]bool{}) {
				t.Error(f)
			}
		})
	}
}

func TestExceptions(t *testing.T) {
	repo := repository(t)
	used := map[string]bool{}
	for _, c := range checks {
		c.withoutExceptions(repo, exceptions, used)
	}
	for _, message := range exceptionFaults(exceptions, used) {
		t.Error(message)
	}
}

// An exception removes exactly the fault with its key. One without a reason, or without a fault, is reported.
func TestAnExceptionRemovesOneFault(t *testing.T) {
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
		for _, f := range c.withoutExceptions(module, excepted, used) {
			left = append(left, f.key(c.name))
		}
	}
	if want := []string{"sleep: queues/util.go nap"}; !slices.Equal(left, want) {
		t.Errorf("faults without exceptions: got %q, want %q", left, want)
	}
	want := []string{
		`exception "filename: queues/util.go" has no reason: write one`,
		`exception "sleep: queues/util.go doze" matches no fault: remove it, or correct its key`,
	}
	if got := exceptionFaults(excepted, used); !slices.Equal(got, want) {
		t.Errorf("faults of exceptions: got %q, want %q", got, want)
	}
}
