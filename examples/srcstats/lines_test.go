package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// kinds is the result of countLines.
type kinds struct{ code, comment, blank int }

var lineCases = []struct {
	name, src string
	want      kinds
}{
	{"code alone", "package p\n", kinds{code: 1}},
	{"no final newline", "package p", kinds{code: 1}},
	{"comment without a final newline", "package p\n// c", kinds{code: 1, comment: 1}},
	{"empty comment at the end", "package p\n//", kinds{code: 1, comment: 1}},
	{"white space without a final newline", "package p\n \t", kinds{code: 1, blank: 1}},
	{"blank lines", "\n \t\npackage p\n\n\r\n", kinds{code: 1, blank: 4}},
	{"form feed in a comment", "package p\n/*\n\f\n*/\n", kinds{code: 1, comment: 2, blank: 1}},
	{"comment after code", "package p // c\n", kinds{code: 1}},
	{"indented comment", "package p\n\t// c\n", kinds{code: 1, comment: 1}},
	{"block comment before code", "/* c */ package p\n", kinds{code: 1}},
	{"block comment within code", "package /* c */ p\n", kinds{code: 1}},
	{"block comment alone", "package p\n /* c */ \n", kinds{code: 1, comment: 1}},
	{"two comments on a line", "package p\n/* a */ /* b */ // c\n", kinds{code: 1, comment: 1}},
	{"code between comments", "package p\n/* a */ var x int /* b */\n", kinds{code: 2}},
	{"block comment over lines", "package p\n/*\na\n\n b\n*/\n", kinds{code: 1, comment: 4, blank: 1}},
	{"block comment begins after code", "package p; /* a\nb */\n", kinds{code: 1, comment: 1}},
	{"block comment ends before code", "/* a\nb */ package p\n", kinds{code: 1, comment: 1}},
	{"one ends and the next begins", "package p\n/* a\n*/ /* b\n*/ // c\n", kinds{code: 1, comment: 3}},
	{"one ends, code, the next begins", "package p\n/* a\n*/ var x int /* b\n*/\n", kinds{code: 2, comment: 2}},
	{"slashes in a string", "package p\nvar s = \"// no\"\n", kinds{code: 2}},
	{"stars in a string", "package p\nvar s = \"/* no\"\nvar t = \"*/\"\n", kinds{code: 3}},
	{"quotes in runes", "package p\nvar a, b = '\"', '\\''\n// c\n", kinds{code: 2, comment: 1}},
	{"raw string", "package p\nvar s = `\n// no\n\n/* no\n`\n", kinds{code: 5, blank: 1}},
	{"quote in a comment", "package p\n// it's `so\n// \"c\n", kinds{code: 1, comment: 2}},
	{"stars in a line comment", "package p\n// /*\nvar x int\n", kinds{code: 2, comment: 1}},
	{"slash star slash", "package p\n/*/ c\n*/\n", kinds{code: 1, comment: 2}},
	{"CRLF", "package p\r\n// c\r\n\r\nvar x int // d\r\n", kinds{code: 2, comment: 1, blank: 1}},
	{"CRLF in a block comment", "/*\r\na\r\n\r\nb\r\n*/ package p\r\n", kinds{code: 1, comment: 3, blank: 1}},
	{"CRLF, end of a block comment alone", "package p\r\n/*\r\na\r\n*/\r\n", kinds{code: 1, comment: 3}},
	{"CRLF, code right after a block comment", "/*\r\n\r\n\r\n\r\n*/package p\r\n", kinds{code: 1, comment: 1, blank: 3}},
	{"CRLF in a raw string", "package p\r\nvar s = `\r\n// no\r\n`\r\n", kinds{code: 4}},
	{"line directive", "package p\n//line a.y:10\nvar x int\n/*line b.y:7:1*/ var y int\n", kinds{code: 3, comment: 1}},
	{"byte order mark, code", "\uFEFFpackage p\n", kinds{code: 1}},
	{"byte order mark, comment", "\uFEFF// c\npackage p\n", kinds{code: 1, comment: 1}},
	{"byte order mark, blank", "\uFEFF\npackage p\n", kinds{code: 1, blank: 1}},
	{"empty file", "", kinds{}},
	{"comments alone do not parse", "// c\n", kinds{}},
}

func TestCountLines(t *testing.T) {
	for _, c := range lineCases {
		t.Run(c.name, func(t *testing.T) {
			s := statsOf(File{Path: "p.go"}, []byte(c.src))
			if got := (kinds{s.Code, s.Comment, s.Blank}); got != c.want {
				t.Errorf("source %q: got %+v, want %+v", c.src, got, c.want)
			}
		})
	}
}

// FuzzCountLines compares countLines with slowCount, for every source that parses.
func FuzzCountLines(f *testing.F) {
	for _, c := range lineCases {
		f.Add([]byte(c.src))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		s := statsOf(File{Path: "p.go"}, slices.Clone(src))
		if len(s.Unparsed) > 0 {
			message := s.Unparsed[0].Error
			if !strings.HasPrefix(message, "p.go:") || !utf8.ValidString(message) || strings.Contains(message, "\n") {
				t.Errorf("got message %q, want one line of UTF-8 that begins with the file's name", message)
			}
			if s.Lines != 0 {
				t.Errorf("a file that does not parse: got %d lines, want 0", s.Lines)
			}
			return
		}
		if got, want := (kinds{s.Code, s.Comment, s.Blank}), slowCount(src); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		lines := bytes.Count(src, []byte("\n"))
		if !bytes.HasSuffix(src, []byte("\n")) {
			lines++
		}
		if s.Lines != lines {
			t.Errorf("got %d lines, want %d", s.Lines, lines)
		}
	})
}

// slowCount is another implementation of countLines: a small lexer copies the source twice, once with blanks in place of
// comments and once with blanks in place of everything else; which copy of a line is not blank decides its kind.
func slowCount(src []byte) (n kinds) {
	src = bytes.TrimPrefix(src, []byte("\uFEFF"))
	code, comments := bytes.Clone(src), bytes.Clone(src)
	for i := 0; i < len(src); {
		end, isComment := lexeme(src, i)
		for ; i < end; i++ {
			switch {
			case src[i] == '\n':
			case isComment:
				code[i] = ' '
			default:
				comments[i] = ' '
			}
		}
	}
	commentLines := bytes.Split(comments, []byte("\n"))
	for i, line := range bytes.Split(code, []byte("\n")) {
		switch last := i == len(commentLines)-1; {
		case hasText(line):
			n.code++
		case hasText(commentLines[i]):
			n.comment++
		case !last || len(line) > 0:
			n.blank++
		}
	}
	return n
}

// lexeme returns where the comment, the string, or the single byte of other code at start ends.
func lexeme(src []byte, start int) (end int, isComment bool) {
	rest := src[start:]
	until := func(mark string, escapes bool) int {
		for i := 1; i < len(rest); i++ {
			switch {
			case escapes && rest[i] == '\\':
				i++
			case bytes.HasPrefix(rest[i:], []byte(mark)):
				return start + i + len(mark)
			}
		}
		return len(src)
	}
	switch {
	case bytes.HasPrefix(rest, []byte("//")):
		return until("\n", false), true
	case bytes.HasPrefix(rest, []byte("/*")):
		start, rest = start+1, rest[1:] // the star of /* cannot be the star of */
		return until("*/", false), true
	case rest[0] == '`':
		return until("`", false), false
	case rest[0] == '"' || rest[0] == '\'':
		return until(string(rest[:1]), true), false
	}
	return start + 1, false
}

func hasText(line []byte) bool {
	return bytes.ContainsFunc(line, func(r rune) bool { return !unicode.IsSpace(r) })
}
