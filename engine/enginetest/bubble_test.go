package enginetest

import (
	"flag"
	"strings"
	"testing"
)

// A test is named exactly, also if its name has characters that mean something in a pattern.
func TestExactly(t *testing.T) {
	for name, want := range map[string]string{
		"TestX":                "^TestX$",
		"TestX/seed_7":         "^TestX$/^seed_7$",
		"TestX/a.b/(c)/job_":   `^TestX$/^a\.b$/^\(c\)$/^job_$`,
		"TestX/several_things": "^TestX$/^several_things$",
	} {
		if got := exactly(name); got != want {
			t.Errorf("exactly(%q) = %q, want %q", name, got, want)
		}
	}
}

// A process of a single test has the flags of the tests, such as -seed, and none of package testing that would choose
// other tests or run them twice.
func TestArgumentsOfAProcessOfItsOwn(t *testing.T) {
	before := flag.Lookup("seeds").Value.String()
	if err := flag.Set("seeds", "3"); err != nil {
		t.Fatalf("set the flag -seeds: %v", err)
	}
	t.Cleanup(func() { _ = flag.Set("seeds", before) })
	args := strings.Join(aloneArgs(t), " ")
	for _, want := range []string{"-test.run=^TestArgumentsOfAProcessOfItsOwn$ -test.count=1 ", " -test.timeout=", " -seeds=3"} {
		if !strings.Contains(args, want) {
			t.Errorf("got the arguments %q, want them to contain %q", args, want)
		}
	}
	if n := strings.Count(args, "-test."); n != 4 {
		t.Errorf("got the arguments %q with %d of package testing, want 4", args, n)
	}
}
