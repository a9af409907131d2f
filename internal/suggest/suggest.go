package suggest

import (
	"fmt"
	"strings"

	"github.com/agext/levenshtein"
)

// Name says which of the names in there was probably meant by name, which is not among them, and lists up to twelve:
// `did you mean "square"? There are: cube, square`.
func Name(name string, there []string) string {
	if len(there) == 0 {
		return "there are none"
	}
	best, distance := "", len(name)/2+1
	for _, candidate := range there {
		if d := levenshtein.Distance(name, candidate, nil); d < distance {
			best, distance = candidate, d
		}
	}
	const shown = 12
	list := strings.Join(there[:min(shown, len(there))], ", ")
	if more := len(there) - shown; more > 0 {
		list += fmt.Sprintf(" and %d more", more)
	}
	if best == "" {
		return "there are: " + list
	}
	return fmt.Sprintf("did you mean %q? There are: %s", best, list)
}
