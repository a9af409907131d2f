package suggest_test

import (
	"strings"
	"testing"

	"github.com/tidemill/tidemill/internal/suggest"
)

func TestName(t *testing.T) {
	for _, c := range []struct {
		name  string
		known []string
		want  string
	}{
		{"sqare", []string{"cube", "square"}, `did you mean "square"? There are: cube, square`},
		{"xyz", []string{"cube", "square"}, `there are: cube, square`},
		{"x", nil, "there are none"},
		{"f99", strings.Fields("f1 f2 f3 f4 f5 f6 f7 f8 f9 f10 f11 f12 f13 f14"), `did you mean "f9"? There are: f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12 and 2 more`},
	} {
		if got := suggest.Name(c.name, c.known); got != c.want {
			t.Errorf("Name(%q, %q): got %q, want %q", c.name, c.known, got, c.want)
		}
	}
}
