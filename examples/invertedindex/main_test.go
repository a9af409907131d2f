package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/tidemill/tidemill"
)

func TestIndex(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"a.go": "package a\nvar Tide, tide = 1, 2 // tide", "b/b.go": "package b // The tide_mill of 1783", "c.txt": "tide", "d.go": "zebra Éclair",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cluster, err := tidemill.Open(t.Context(), tidemill.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cluster.Close(context.Background()) }()
	ctx := cluster.Context(t.Context())
	paths, err := goFiles(root)
	if err != nil || len(paths) != 3 {
		t.Fatalf("got Go files %q, error %v; want 3 files", paths, err)
	}
	*files = 2
	x, err := build(ctx, paths)
	if err != nil {
		t.Fatal(err)
	}
	for word, want := range map[string][]Hit{
		"TIDE": {{0, 3}}, "package": {{0, 1}, {1, 1}}, "tide_mill": {{1, 1}}, "zebra": {{2, 1}}, "1783": nil, "nothing": {},
	} {
		if got, err := x.find(ctx, word); err != nil || len(got) != len(want) || len(want) > 0 && !reflect.DeepEqual(got, want) {
			t.Errorf("find %s: got %v, error %v; want %v", word, got, err, want)
		}
	}
	var out bytes.Buffer
	if err := checkIndex(ctx, &out, x, paths); err != nil || !strings.Contains(out.String(), "0  lines that differ") {
		t.Errorf("check of a correct index: got error %v, output:\n%s\nwant no error, and 0 lines that differ", err, out.String())
	}
	if err := os.WriteFile(paths[2], []byte("zebra zebra"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := checkIndex(ctx, &out, x, paths); err == nil {
		t.Error("check after a file has changed: got no error")
	}
}
