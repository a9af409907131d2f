/*
Package greet says hello.

There is a blank line above: it counts as blank, not as comment.
*/
package greet

import (
	"fmt"
	"strings"
)

// Name greets somebody.
func Name(name string) string {
	/* a comment before code */ name = strings.TrimSpace(name)

	return fmt.Sprintf(`hello,
// this is no comment: it stands in a raw string

%s`, name)
}

// line is what a generator would write.
//
//line greet.y:1000
func line() int { return 1 }
