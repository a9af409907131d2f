package patterns_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// flags are the command line flags of some programs, by name.
var flags = map[string][]string{"resources": {"-resources", "cpu=4,memory=4Gi,db=1"}}

// Each program prints the text of the file want.txt in its directory.
func TestPatterns(t *testing.T) {
	bin := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", bin, "./...").CombinedOutput(); err != nil {
		t.Fatalf("build the programs: %v\n%s", err, out)
	}
	wants, err := filepath.Glob("*/want.txt")
	if err != nil || len(wants) < 9 {
		t.Fatalf("found %d programs with a want.txt, error %v; want at least 9", len(wants), err)
	}
	for _, path := range wants {
		name := filepath.Dir(path)
		t.Run(name, func(t *testing.T) {
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(filepath.Join(bin, name), flags[name]...)
			cmd.Stderr = os.Stderr
			got, err := cmd.Output()
			if err != nil || string(got) != string(want) {
				t.Errorf("got error %v, output:\n%s\nwant no error, output:\n%s", err, got, want)
			}
		})
	}
}
