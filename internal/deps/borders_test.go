package deps

import (
	"slices"
	"strings"
)

// natsPackages may import NATS modules; all others send messages through queues.
var natsPackages = []string{"queues", "queues/embedded", "objstore/jetstream"}

// clockPackage is the one package of the NATS server that the test kit may import: the server's clock must be started
// outside of every synctest bubble.
const (
	clockPackage = "github.com/nats-io/nats-server/v2/server/ats"
	testKit      = "engine/enginetest"
)

// natsModules are the prefixes of the import paths of NATS modules.
var natsModules = []string{"github.com/nats-io/", "github.com/synadia-io/"}

func checkNATS(t *tree) []fault {
	var faults []fault
	for _, f := range t.files {
		if f.nested || f.test() || slices.Contains(natsPackages, f.dir) {
			continue
		}
		for _, spec := range f.imports {
			ofNATS := func(prefix string) bool { return strings.HasPrefix(spec.path, prefix) }
			if slices.ContainsFunc(natsModules, ofNATS) && (spec.path != clockPackage || f.dir != testKit) {
				faults = append(faults, fault{f.path, spec.line, spec.path, f.dir + " imports " + spec.path +
					": only " + strings.Join(natsPackages, ", ") + " may; use a Queue, Log, Table or Topic of" +
					" package queues, and add to that package what is missing"})
			}
		}
	}
	return faults
}

// environment lists the functions that read the environment, by package.
var environment = map[string][]string{
	"os":      {"Getenv", "LookupEnv", "Environ", "ExpandEnv"},
	"syscall": {"Getenv", "Environ"},
}

// checkEnvironment lets only programs, the root package and tests read the environment. Tests may have to pass it on to a
// process that they start.
func checkEnvironment(t *tree) []fault {
	var faults []fault
	for _, f := range t.files {
		if f.nested || f.test() || f.dir == "." || isProgram(f.dir) {
			continue
		}
		for imported, functions := range environment {
			for _, use := range f.uses(imported, functions...) {
				faults = append(faults, f.fault(use.node, use.owner, use.owner+" calls "+imported+"."+
					use.identifier+": only cmd, examples and the root package read the environment;"+
					" take the value as a field of Config"))
			}
		}
	}
	return faults
}

// isProgram reports whether the folder belongs to a program.
func isProgram(dir string) bool {
	p, ok := placeOf(dir)
	return ok && p.program != ""
}
