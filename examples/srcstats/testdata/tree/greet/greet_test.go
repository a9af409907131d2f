package greet

import (
	"os"
	"testing"
)

func TestMain(m *testing.M) { os.Exit(m.Run()) }

func TestName(t *testing.T) {
	if Name("you") == "" {
		t.Fatal("no greeting")
	}
}

func Test_line(t *testing.T) { _ = line() }

func Testimony() {}

func BenchmarkName(b *testing.B) {}
