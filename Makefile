# The tasks of development, by hand or in CI. `make` without a target lists them.
#
# It needs bash and Go; `test` also a C compiler (for the race detector), and `bench-ray` Python.
# GOFLAGS and the rest of Go's environment are left to the caller, except CGO_ENABLED, which most
# targets need in one way or the other.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

ROOT     ?= $(shell go env GOROOT)/src
ARGS     ?=
TIMEOUT  ?= 10m
BENCH    ?= .
COUNT    ?= 1
FUZZTIME ?= 20s
SHUFFLE  ?= 1
SEEDS    ?= 2000
KILLS    ?= 5
PYTHON   ?= python3

# The platforms that everything must compile for. README.md names them too.
PLATFORMS := linux/amd64 linux/arm64 darwin/arm64 darwin/amd64 windows/amd64 freebsd/amd64

# Tests that make soak does not run for arm64, in packages of which it runs the others: they start a process of their own
# binary; the last one needs the real run times of tasks.
NOT_EMULATED := TestDirectoryHasOneUser|TestKilledServerLosesNothing|TestFullDisk|TestALateNodeGetsItsShare|$\
	TestALogThatGoesBack|TestAResultThatIsLostWithTheEndOfALog|TestABatchWithTheSequenceOfAnother|$\
	TestARecordedResultIsThereWhenItsServerIs|TestTheSizeOfBatchesFollowsRunTimes

GOLANGCI_VERSION := v2.15.0
GOLANGCI := go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
GO_WANTED := $(shell awk '$$1 == "go" { print $$2; exit }' go.mod)

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile
	echo
	echo '  ROOT=dir ARGS="..."    demo, soak: the tree to count; demo, bench, bench-ray: arguments for the program'
	echo '  PYTHON=python3.12      bench-ray: which Python, 3.11 to 3.14 with venv'
	echo '  BENCH=regexp COUNT=n   micro: which benchmarks, and how often'
	echo '  FUZZTIME=20s           fuzz: how long each target runs'
	echo '  TIMEOUT=10m            test, cover: time limit for one package'
	echo '  SHUFFLE=on             test: another order of the tests of a package each time'
	echo '  SEEDS=n KILLS=n        soak: how many simulations; how many jobs killed at each place and by power cuts'

.PHONY: build
build: need-go ## build all packages, and the programs into bin/
	@$(shell_functions)
	export CGO_ENABLED=0
	run go build ./...
	mkdir -p bin
	for program in $$(go list -f '{{if eq .Name "main"}}{{.ImportPath}}{{end}}' ./...); do
		run go build -o bin/ "$$program"
	done

.PHONY: demo
demo: need-go ## count the source lines of a tree (ROOT) on an embedded cluster; needs only Go
	@$(shell_functions)
	export CGO_ENABLED=0
	mkdir -p bin
	run go build -o bin/ ./examples/srcstats
	run bin/srcstats $(ARGS) "$(ROOT)"

# Tests run in a shuffled order, so that none depends on another. All seeds are fixed, that of the
# order (SHUFFLE) and those of simulations and kills, so that two runs do the same; make soak takes
# fresh ones. -shuffle also turns the test cache off. For a quick look: go test ./queues/
#
# The race detector allocates, so the tests of allocations (TestAlloc...) run without it.
.PHONY: test
test: need-go ## run all tests with the race detector, then TestAlloc... without it
	@$(shell_functions)
	use_c_compiler
	failed=0
	run go test -race -shuffle=$(SHUFFLE) -timeout $(TIMEOUT) -skip '^TestAlloc' ./... || failed=1
	guarded=$$(packages_with TestAlloc)
	run go test -run '^TestAlloc' $$guarded || failed=1
	if [[ -f bench/go.mod ]]; then
		cd bench
		run go test -race -shuffle=$(SHUFFLE) -timeout $(TIMEOUT) ./... || failed=1
	fi
	exit $$failed

# Seeds are fresh each time. A simulation, or a job that is killed, prints the command that repeats
# it with its seed if it fails. One process for each core runs a part of the simulations.
.PHONY: soak
soak: need-go ## run SEEDS simulations on all cores, KILLS killed jobs for each place, tests for arm64, and power cuts
	@$(shell_functions)
	export CGO_ENABLED=0
	failed=0
	work=$$(mktemp -d)
	trap 'rm -rf "$$work"' EXIT
	go test -c -o "$$work/simulation" ./engine/enginetest
	cores=$$(getconf _NPROCESSORS_ONLN)
	first=$$((RANDOM * 32768 * 32768 + RANDOM * 32768 + RANDOM + 1))
	each=$$(( ($(SEEDS) + cores - 1) / cores ))
	echo "make: $$cores processes with $$each simulations each, from seed $$first on"
	pids=()
	for ((i = 0; i < cores; i++)); do
		"$$work/simulation" -test.run '^TestSimulation$$' -test.timeout 24h -seeds $$each -seed $$((first + i * each)) >"$$work/log$$i" 2>&1 &
		pids+=($$!)
	done
	for i in "$${!pids[@]}"; do
		wait "$${pids[$$i]}" && continue
		failed=1
		grep -v '^ *time=' "$$work/log$$i" | tail -40
	done
	((failed)) || echo "make: $$((each * cores)) simulations, none failed"
	run go test -count=1 -timeout 24h -v -run '^TestKilled$$' -seed $$first -kills $(KILLS) -demo "$(ROOT)" . || failed=1
	test_on_arm64 || failed=1
	power_can_be_lost && { run go test -count=1 -timeout 24h -tags soak -v -run '^TestPowerLoss' -seed $$first -kills $(KILLS) . || failed=1; }
	exit $$failed

# The platforms come last: the first time, Go compiles its library and all modules for each, which takes a minute or more
# of each core for a platform.
.PHONY: lint
lint: need-go ## check formatting, run the linters of .golangci.yml, compile for all platforms
	@$(shell_functions)
	export CGO_ENABLED=0
	run $(GOLANGCI) run
	if [[ -f bench/go.mod ]]; then
		(cd bench && run $(GOLANGCI) run --config ../.golangci.yml)
	fi
	vet_platforms

.PHONY: fmt
fmt: need-go ## format all Go files
	@$(shell_functions)
	export CGO_ENABLED=0
	run $(GOLANGCI) fmt
	if [[ -f bench/go.mod ]]; then
		cd bench
		run $(GOLANGCI) fmt --config ../.golangci.yml
	fi

.PHONY: bench
bench: need-go ## measure against plain loops in Go, or two checkouts with ARGS="-against DIR"
	@if [[ ! -f bench/go.mod ]]; then
		echo 'make bench: there is no module in bench/' >&2
		exit 1
	fi
	cd bench
	go run . $(ARGS)

# Ray's virtual environment is created again if the pins or the Python have changed.
.PHONY: bench-ray
bench-ray: need-go need-python ## measure beside Ray, installed from PyPI into .venv-ray
	@$(shell_functions)
	{ $(PYTHON) -VV; cat bench/ray/requirements.txt; } >.venv-ray.wanted
	if ! cmp -s .venv-ray.wanted .venv-ray/made-of; then
		run rm -rf .venv-ray
		run $(PYTHON) -m venv .venv-ray
		run .venv-ray/bin/pip install --quiet --disable-pip-version-check --only-binary :all: -r bench/ray/requirements.txt
	fi
	mv .venv-ray.wanted .venv-ray/made-of
	cd bench
	go run . -ray ../.venv-ray/bin/python $(ARGS)

.PHONY: micro
micro: need-go ## run the benchmarks beside the code
	@$(shell_functions)
	packages=$$(packages_with Benchmark)
	run go test -run '^$$' -bench '$(BENCH)' -benchmem -count $(COUNT) $$packages

# At the end of a target's time, Go before 1.27 sometimes reports the bare failure "context deadline exceeded"
# (golang/go#75804). That is no finding: a finding names its input or its seed.
.PHONY: fuzz
fuzz: need-go ## fuzz each target in turn
	@$(shell_functions)
	failed=0
	packages=$$(packages_with Fuzz)
	log=$$(mktemp)
	trap 'rm -f "$$log"' EXIT
	for package in $$packages; do
		targets=$$(go test -list '^Fuzz' "$$package" | grep '^Fuzz')
		for target in $$targets; do
			run go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$package" 2>&1 | tee "$$log" && continue
			if grep -q '^    context deadline exceeded$$' "$$log" && ! grep -Eq 'Failing input|seed corpus|panic:' "$$log"; then
				echo "make: the time is up; no finding"
			else
				failed=1
			fi
		done
	done
	exit $$failed

# A statement counts as covered if a test of any package runs it, since many tests are in higher layers.
.PHONY: cover
cover: need-go ## run all tests, and print the share of each package's statements that they reach
	@$(shell_functions)
	failed=0
	run go test -timeout $(TIMEOUT) -coverpkg=./... -coverprofile=cover.out ./... || failed=1
	echo
	awk '
		NR > 1 { statements[$$1] = $$(NF - 1); if ($$NF > 0) hit[$$1] = 1 }
		END {
			for (block in statements) {
				package = block; sub(/\/[^\/]*$$/, "", package)
				all[package] += statements[block]; total += statements[block]
				if (block in hit) { some[package] += statements[block]; reached += statements[block] }
			}
			for (package in all) printf "%6.1f%%  %s\n", 100 * some[package] / all[package], package | "sort -k2"
			close("sort -k2")
			if (total) printf "%6.1f%%  total; go tool cover -html cover.out shows the lines\n", 100 * reached / total
		}' cover.out
	exit $$failed

.PHONY: clean
clean: ## remove what these targets created
	@rm -rf bin bench/bin cover.out .venv-ray .venv-ray.wanted

.PHONY: need-go
need-go:
	@if ! command -v go >/dev/null; then
		echo 'make: Go is missing: install Go $(GO_WANTED) or newer and put it on the PATH' >&2
		exit 1
	fi
	have=$$(go env GOVERSION)
	if ! printf 'go%s\n%s\n' '$(GO_WANTED)' "$$have" | sort -VC; then
		echo "make: this is $$have, but go.mod needs Go $(GO_WANTED) or newer: install it and put it on the PATH" >&2
		exit 1
	fi

.PHONY: need-python
need-python:
	@if ! command -v $(PYTHON) >/dev/null; then
		echo 'make: $(PYTHON) is missing, and Ray needs Python: install Python 3.11 to 3.14, or set PYTHON to one' >&2
		exit 1
	fi
	if ! $(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))'; then
		echo "make: this is $$($(PYTHON) -V), and bench/ray/requirements.txt is for Python 3.11 to 3.14: set PYTHON to one of them" >&2
		exit 1
	fi
	if ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then
		echo 'make: $(PYTHON) has no module venv or ensurepip: install python3-venv, or set PYTHON to another Python' >&2
		exit 1
	fi

# Functions for the recipes above.
define shell_functions
# run prints a command and runs it.
run() {
	echo "+ $$*"
	"$$@"
}
# packages_with prints the folders whose tests have a function with a name beginning with $$1.
packages_with() {
	local folders
	folders=$$(grep -rl --include='*_test.go' --exclude-dir=bench --exclude-dir=testdata "^func $$1" . |
		xargs -r -n 1 dirname | sort -u)
	if [[ -z $$folders ]]; then
		echo "make: no package has a $$1 function" >&2
		return 1
	fi
	echo "$$folders"
}
# vet_platforms compiles and vets all code and all tests for each platform without cgo, and on Linux also with it.
vet_platforms() {
	local platform failed=0
	for platform in $(PLATFORMS); do
		vet_all GOOS=$${platform%/*} GOARCH=$${platform#*/} CGO_ENABLED=0 || failed=1
	done
	if [[ $$(go env GOHOSTOS) == linux ]]; then
		use_c_compiler
		vet_all CGO_ENABLED=1 || failed=1
	fi
	return $$failed
}
# vet_all runs go vet on all packages with the variables $$@ in its environment.
vet_all() {
	run env "$$@" go vet ./... || return 1
	run env "$$@" go vet -tags failpoints,soak . ./internal/failpoint ./testdata/killed ./testdata/poison || return 1
	if [[ -f bench/go.mod ]]; then
		(cd bench && run env "$$@" go vet ./...) || return 1
	fi
}
# test_on_arm64 runs tests for arm64 in an emulator. It leaves out those that start programs for arm64, since the emulator
# runs one process: whole packages of them, and single tests by name.
test_on_arm64() {
	local emulator packages
	if ! emulator=$$(command -v qemu-aarch64-static || command -v qemu-aarch64); then
		echo 'make: arm64 was NOT tested: that needs Linux and qemu-aarch64 or qemu-aarch64-static:' \
			'install the package qemu-user or qemu-user-static'
		return
	fi
	packages=$$(go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' ./... |
		grep -Ev '/(tidemill|engine/enginetest|examples/patterns|internal/broken|internal/deps)$$')
	run env GOOS=linux GOARCH=arm64 CGO_ENABLED=0 go test -count=1 -timeout 24h -exec "$$emulator" \
		-skip '^($(NOT_EMULATED))$$' $$packages
}
# power_can_be_lost reports whether a test can create and mount a file system here, and prints why if not.
power_can_be_lost() {
	local image mount
	image=$$(mktemp)
	mount=$$(mktemp -d)
	if truncate -s 16M "$$image" && mkfs.ext4 -q "$$image" && mount -o loop "$$image" "$$mount" && umount "$$mount"; then
		rm -rf "$$image" "$$mount"
		return
	fi 2>"$$image.err"
	echo "make: power cuts were NOT tested: that needs Linux, root, loop devices and mkfs.ext4: $$(tail -n 1 "$$image.err")"
	rm -rf "$$image" "$$image.err" "$$mount"
	return 1
}
# use_c_compiler finds a C compiler that works, Go's own choice first, and makes Go use it.
use_c_compiler() {
	for CC in "$$(go env CC)" cc gcc clang; do
		if $$CC -fsyntax-only -x c - <<<'#include <stdlib.h>' 2>/dev/null; then
			export CC CGO_ENABLED=1
			return
		fi
	done
	echo 'make: a C compiler with its headers is missing, and the race detector needs one:' \
		'install gcc and libc6-dev, or clang, or set CC to one' >&2
	return 1
}
endef
