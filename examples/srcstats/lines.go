package main

import (
	"bytes"
	"go/ast"
	"go/token"
	"unicode"
)

// span is the position of a comment in the source: its bytes are src[start:end].
type span struct{ start, end int }

// commentSpans returns the positions of a file's comments, in order. It finds the end of a comment in src, since the Text
// of an ast.Comment lacks the carriage returns of files with CRLF line ends. The line feed after a // comment does not
// belong to it.
//
// The source must have been parsed without errors, so that every comment has an end.
func commentSpans(src []byte, file *token.File, groups []*ast.CommentGroup) []span {
	var spans []span
	for _, group := range groups {
		for _, comment := range group.List {
			start := file.Offset(comment.Slash)
			body := start + len("/*")
			end := len(src)
			if src[start+1] == '*' {
				end = body + bytes.Index(src[body:], []byte("*/")) + len("*/")
			} else if eol := bytes.IndexByte(src[body:], '\n'); eol >= 0 {
				end = body + eol
			}
			spans = append(spans, span{start, end})
		}
	}
	return spans
}

// countLines counts the lines of src by kind. A line is blank if it has only white space, also inside a comment or a raw
// string; it is a comment line if all its other bytes belong to comments; otherwise it is code. The last line needs no
// newline.
func countLines(src []byte, comments []span) (code, comment, blank int) {
	var end int // of the line
	for start := 0; start < len(src); start = end {
		end = endOfLine(src, start)
		at := skipSpace(src, start, end)
		if at == end {
			blank++
			continue
		}
		for at < end && len(comments) > 0 && comments[0].start <= at {
			if comments[0].end > end { // the comment continues on the next line
				at = end
				break
			}
			at = skipSpace(src, max(at, comments[0].end), end) // max: the comment may have ended on an earlier line
			comments = comments[1:]
		}
		if at == end {
			comment++
		} else {
			code++
		}
	}
	return code, comment, blank
}

// endOfLine returns the index after the line that start is on.
func endOfLine(src []byte, start int) int {
	if eol := bytes.IndexByte(src[start:], '\n'); eol >= 0 {
		return start + eol + 1
	}
	return len(src)
}

// skipSpace returns the index of the first byte from start that is not white space, or end.
func skipSpace(src []byte, start, end int) int {
	return end - len(bytes.TrimLeftFunc(src[start:end], unicode.IsSpace))
}
