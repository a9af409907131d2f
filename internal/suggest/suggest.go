package suggest

import (
	"fmt"
	"strings"

	"github.com/agext/levenshtein"
)

// Name suggests one of the known names for a name that is not among them, and lists up to twelve of them:
// `did you mean "square"? There are: cube, square`.
func Name(name string, known []string) string {
	if len(known) == 0 {
		return "there are none"
	}
	best, distance := "", len(name)/2+1
	for _, candidate := range known {
		if d := levenshtein.Distance(name, candidate, nil); d < distance {
			best, distance = candidate, d
		}
	}
	const shown = 12
	list := strings.Join(known[:min(shown, len(known))], ", ")
	if more := len(known) - shown; more > 0 {
		list += fmt.Sprintf(" and %d more", more)
	}
	if best == "" {
		return "there are: " + list
	}
	return fmt.Sprintf("did you mean %q? There are: %s", best, list)
}
