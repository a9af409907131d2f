package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

func TestFuncs(t *testing.T) {
	cases := []struct {
		name, src string
		want      []Func
	}{
		{"function", "func f() {}", []Func{{"f", "p.go", 2, 1}}},
		{"without a doc comment", "// f\nfunc f() {\n}", []Func{{"f", "p.go", 3, 2}}},
		{"without a body", "func f(a,\n\tb int) (\n\tint)", []Func{{"f", "p.go", 2, 3}}},
		{"without a body or a result", "func f(\n)\nvar x int", []Func{{"f", "p.go", 2, 2}}},
		{"method", "func (t T) M() {}", []Func{{"T.M", "p.go", 2, 1}}},
		{"pointer", "func (*T) M() {}", []Func{{"T.M", "p.go", 2, 1}}},
		{"parentheses", "func (t (*(T))) M() {}", []Func{{"T.M", "p.go", 2, 1}}},
		{"generic receiver", "func (t *T[K]) M() {}", []Func{{"T.M", "p.go", 2, 1}}},
		{"two type parameters", "func (T[K, V]) M() {}", []Func{{"T.M", "p.go", 2, 1}}},
		{"generic function", "func f[T any](T) {}", []Func{{"f", "p.go", 2, 1}}},
		{"receiver without a name", "func (struct{}) M() {}", []Func{{"M", "p.go", 2, 1}}},
		{"no receiver in the parentheses", "func () M() {}", []Func{{"M", "p.go", 2, 1}}},
		{"literals are none", "var f = func() {}", nil},
		{"whatever //line says", "//line a.y:70\nfunc f() {\n//line b.y:1\n}", []Func{{"f", "p.go", 3, 3}}},
		{"CRLF", "/*\r\n\r\n\r\n*/func f() {\r\n\r\n}\r\n", []Func{{"f", "p.go", 5, 3}}},
		{"longest first", "func a() {}\nfunc b() {\n}", []Func{{"b", "p.go", 3, 2}, {"a", "p.go", 2, 1}}},
		{"two on a line", "func b() {}; func a() {}", []Func{{"a", "p.go", 2, 1}, {"b", "p.go", 2, 1}}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := statsOf(File{Path: "p.go"}, []byte("package p\n"+c.src))
			if diff := gocmp.Diff(c.want, s.Longest); diff != "" || s.Funcs != len(c.want) {
				t.Errorf("%d functions (-want +got):\n%s%v", s.Funcs, diff, s.Unparsed)
			}
		})
	}
}

func TestLongestKeepsTen(t *testing.T) {
	src := "package p\n" + strings.Repeat("func f() {}\n", 12) + "func long() {\n}\n"
	s := statsOf(File{Path: "p.go"}, []byte(src))
	if s.Funcs != 13 || len(s.Longest) != 10 || s.Longest[0].Name != "long" || s.Longest[9].Line != 10 {
		t.Errorf("got %d functions, the longest %v; want 13, and the ten longest, longest first, then by line", s.Funcs, s.Longest)
	}
}

func TestTests(t *testing.T) {
	cases := []struct {
		file, decl string
		want       int
	}{
		{"a_test.go", "func TestIt(t *testing.T) {}", 1},
		{"a_test.go", "func Test(t *testing.T) {}", 1},
		{"a_test.go", "func Test_it(t *testing.T) {}", 1},
		{"a_test.go", "func Test1(t *testing.T) {}", 1},
		{"a_test.go", "func TestÄrger(t *testing.T) {}", 1},
		{"a_test.go", "func Test世界(t *testing.T) {}", 1},
		{"a_test.go", "func Testärger(t *testing.T) {}", 0},
		{"a_test.go", "func Testify(t *testing.T) {}", 0},
		{"a_test.go", "func testIt(t *testing.T) {}", 0},
		{"a_test.go", "func TestMain(m *testing.M) {}", 0},
		{"a_test.go", "func TestMainLoop(t *testing.T) {}", 1},
		{"a_test.go", "func (s *Suite) TestIt(t *testing.T) {}", 0},
		{"a_test.go", "func BenchmarkIt(b *testing.B) {}", 0},
		{"a_test.go", "func ExampleIt() {}", 0},
		{"a_test.go", "var TestIt = func(t *testing.T) {}", 0},
		{"dir_test.go/a.go", "func TestIt(t *testing.T) {}", 0},
		{"test.go", "func TestIt(t *testing.T) {}", 0},
	}
	for _, c := range cases {
		if s := statsOf(File{Path: c.file}, []byte("package p\n"+c.decl)); s.Tests != c.want {
			t.Errorf("%s: %s: got %d tests, want %d", c.file, c.decl, s.Tests, c.want)
		}
	}
}

func TestImports(t *testing.T) {
	src := "package p\nimport \"fmt\"\nimport (\n f \"fmt\"\n . `os`\n _ \"a/b\"\n \"C\"\n)\nimport \"\\xff\"\n"
	s := statsOf(File{Path: "p.go"}, []byte(src))
	want := map[string]int{"fmt": 1, "os": 1, "a/b": 1, "C": 1, "\uFFFD": 1}
	if diff := gocmp.Diff(want, s.Imports); diff != "" {
		t.Errorf("imports (-want +got):\n%s(parse errors: %v)", diff, s.Unparsed)
	}
}

func TestUnparsed(t *testing.T) {
	cases := []struct{ name, src, want string }{
		{"empty file", "", "a/p.go:1:1: expected 'package', found 'EOF'"},
		{"first of many", "package p\nfunc\nvar\ntype\n", "a/p.go:3:1: expected 'IDENT', found 'var'"},
		{"after //line", "package p\n//line /abs/z.y:99\nvar x = )\n", "a/p.go:3:9: expected operand, found ')'"},
		{
			"before and after //line, which would order them the other way",
			"package p\nvar x = )\n//line a.y:1\nvar y = ]\n", "a/p.go:2:9: expected operand, found ')'",
		},
		{"CRLF", "package p\r\n\r\nvar x = )\r\n", "a/p.go:3:9: expected operand, found ')'"},
		{"no end", "package p\nvar s = `", "a/p.go:2:9: raw string literal not terminated"},
		{"a message of two lines", "package p\n`a\nb`\n", "a/p.go:2:1: expected declaration, found `a…"},
		{
			"a long message", "package p\n\"" + strings.Repeat("x", 1000) + "\"\n",
			"a/p.go:2:1: expected declaration, found \"" + strings.Repeat("x", 500-len(`a/p.go:2:1: expected declaration, found "`)) + "…",
		},
		{"not UTF-8", "package p\nvar x int\n`\xff\n\xff`\n", "a/p.go:3:1: expected declaration, found `\uFFFD…"},
		{"UTF-16", "\xff\xfep\x00", "a/p.go:1:1: illegal UTF-8 encoding (got UTF-16)"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := statsOf(File{Path: "a/p.go", Size: 7}, []byte(c.src))
			want := Stats{Files: 1, Bytes: 7, Unparsed: []Unparsed{{"a/p.go", c.want}}}
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseFileReads(t *testing.T) {
	root := t.TempDir()
	write(t, root, "a/b.go", "package b\n")
	got, err := parseFile(t.Context(), File{Root: root, Path: "a/b.go", Size: 10})
	if want := (Stats{Files: 1, Bytes: 10, Lines: 1, Code: 1}); err != nil || !gocmp.Equal(got, want) {
		t.Errorf("got %+v, error %v; want %+v", got, err, want)
	}
}

func TestParseFileThatCannotBeRead(t *testing.T) {
	root := t.TempDir()
	write(t, root, "dir.go/b.go", "package b\n")
	for file, message := range map[string]string{
		"gone.go":       "gone.go: no such file or directory",
		"dir.go":        "dir.go: is a directory",
		"dir.go/b.go/c": "dir.go/b.go/c: not a directory",
	} {
		got, err := parseFile(t.Context(), File{Root: root, Path: file, Size: 10})
		want := Stats{Files: 1, Bytes: 10, Unparsed: []Unparsed{{file, message}}}
		if err != nil || !gocmp.Equal(got, want) {
			t.Errorf("%s: got %+v, error %v; want %+v", file, got, err, want)
		}
	}
}

func TestParseFileWithoutTheTree(t *testing.T) {
	root := filepath.Join(t.TempDir(), "gone")
	got, err := parseFile(t.Context(), File{Root: root, Path: "a.go", Size: 10})
	if err == nil || !strings.Contains(err.Error(), root) {
		t.Errorf("got %+v, error %v; want an error that names the root", got, err)
	}
}

func TestStatsOfCopiesFromTheSource(t *testing.T) {
	src := []byte("package p\nimport \"fmt\"\nfunc f() {}\n")
	s := statsOf(File{Path: "p.go"}, src)
	copy(src, bytes.Repeat([]byte("x"), len(src)))
	if s.Longest[0].Name != "f" || s.Imports["fmt"] != 1 {
		t.Errorf("after a change of the source: got %+v, want function f and import fmt", s)
	}
}

// write creates a file below root, and its directories.
func write(t *testing.T, root, path, content string) {
	t.Helper()
	name := filepath.Join(root, path)
	if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o666); err != nil {
		t.Fatal(err)
	}
}
