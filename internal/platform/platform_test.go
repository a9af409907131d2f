package platform_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/tidemill/tidemill/internal/platform"
)

// One lock of a file at a time; its text can be read while it is locked, and it is free once the file is closed.
func TestLockFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "lock")
	first, second := create(t, name), create(t, name)
	if err := platform.LockFile(first); err != nil {
		t.Fatalf("lock: got error %v, want none", err)
	}
	if _, err := first.WriteString("held"); err != nil {
		t.Fatal(err)
	}
	if err := platform.LockFile(second); !errors.Is(err, platform.ErrLocked) {
		t.Errorf("lock it again: got error %v, want %v", err, platform.ErrLocked)
	}
	if text, err := os.ReadFile(name); err != nil || string(text) != "held" {
		t.Errorf("read the locked file: got %q, error %v; want held", text, err)
	}
	_ = first.Close()
	if err := platform.LockFile(second); err != nil {
		t.Errorf("lock it when the first lock is closed: got error %v, want none", err)
	}
}

// create opens the file until the test ends, and creates it unless it exists.
func create(t *testing.T, name string) *os.File {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func TestDirectories(t *testing.T) {
	dir := t.TempDir()
	if free, err := platform.FreeBytes(dir); err != nil || free < 1 {
		t.Errorf("free bytes: got %d, error %v; want some", free, err)
	}
	if err := platform.SyncDir(dir); err != nil {
		t.Errorf("sync: got error %v, want none", err)
	}
	missing := filepath.Join(dir, "missing")
	if _, err := platform.FreeBytes(missing); err == nil || !strings.Contains(err.Error(), missing) {
		t.Errorf("free bytes of a missing directory: got error %v, want one with its name", err)
	}
	if err := platform.SyncDir(missing); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("sync a missing directory: got error %v, want %v", err, os.ErrNotExist)
	}
}

func TestTotalMemory(t *testing.T) {
	if total, err := platform.TotalMemory(); err != nil || total < 64<<20 {
		t.Errorf("got %d bytes, error %v; want at least 64 MiB", total, err)
	}
}

func TestDiskFull(t *testing.T) {
	full := fmt.Errorf("write: %w", diskFull)
	if !platform.IsDiskFull(full) || !platform.SaysDiskFull(full.Error()) {
		t.Errorf("%v: got false, want true", full)
	}
	other := fmt.Errorf("write: %w", syscall.EACCES)
	if platform.IsDiskFull(other) || platform.SaysDiskFull(other.Error()) || platform.IsDiskFull(nil) {
		t.Errorf("%v: got true, want false", other)
	}
}

// On a 32-bit platform, the compiler says in a sentence that it is not supported.
func TestA32BitPlatformIsRefused(t *testing.T) {
	for _, arch := range []string{"386", "arm", "mips", "mipsle"} {
		t.Setenv("GOARCH", arch)
		t.Setenv("GOOS", "linux")
		if files := output(t, "list", "-e", "-f", "{{.GoFiles}}"); !strings.Contains(files, " bits_32.go ") && !strings.Contains(files, "[bits_32.go ") {
			t.Errorf("the files for %s: got %s, want bits_32.go among them", arch, files)
		}
	}
	out, err := exec.Command("go", "tool", "compile", "-p", "platform", "-o", filepath.Join(t.TempDir(), "out"), "bits_32.go").CombinedOutput()
	if want := "Tidemill needs a 64-bit platform, such as GOARCH=amd64 or arm64"; err == nil || !strings.Contains(string(out), want) {
		t.Errorf("compile for 32 bits: got error %v and the output\n%s\nwant an error with %q", err, out, want)
	}
}

// Every package of the API needs this one, so that none can be built for a 32-bit platform.
func TestEveryPackageIsRefused(t *testing.T) {
	const module = "github.com/tidemill/tidemill"
	for line := range strings.Lines(output(t, "list", "-f", "{{if .GoFiles}}{{.ImportPath}} {{.Deps}}{{end}}", "../../...")) {
		path, needs, _ := strings.Cut(strings.TrimSpace(line), " ")
		if path != "" && !strings.Contains(path, "/internal/") && !strings.Contains(path, "/examples/") && !strings.Contains(needs, module+"/internal/platform") {
			t.Errorf("%s does not import internal/platform, directly or through another package, want that it does", path)
		}
	}
}

// output returns what the go command prints.
func output(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v", strings.Join(args, " "), err)
	}
	return string(out)
}
