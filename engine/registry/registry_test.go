package registry_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/engine/registry"
)

// A name can be registered once. A refused registration changes neither the functions nor the count of changes.
func TestAddRefusesWhatCannotBeNamed(t *testing.T) {
	r := registry.New()
	first := &registry.Function{Name: "f"}
	if err := r.Add(first); err != nil {
		t.Fatalf("add f: got %v, want nil", err)
	}
	_, before := r.Names()
	for name, want := range map[string]string{
		"f":                     `function "f" is registered twice`,
		"":                      `function name ""`,
		"no spaces":             `function name "no spaces"`,
		"Upper":                 `function name "Upper"`,
		strings.Repeat("f", 65): "want 1 to 64",
	} {
		if err := r.Add(&registry.Function{Name: name}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("add %q: got %v, want an error with %q", name, err, want)
		}
	}
	if got := r.Lookup("f"); got != first {
		t.Errorf("f: got %p, want the first one, %p", got, first)
	}
	if names, after := r.Names(); !slices.Equal(names, []string{"f"}) || after != before {
		t.Errorf("after refused registrations: got %q with %d changes, want %q with %d", names, after, "f", before)
	}
}

// Names are sorted, and each added function counts as a change.
func TestNamesAndLookup(t *testing.T) {
	r := registry.New()
	for _, name := range []string{"g", "f"} {
		if err := r.Add(&registry.Function{Name: name}); err != nil {
			t.Fatalf("add %s: got %v, want nil", name, err)
		}
	}
	if names, changes := r.Names(); !slices.Equal(names, []string{"f", "g"}) || changes != 2 {
		t.Errorf("got %q with %d changes, want %q with 2", names, changes, []string{"f", "g"})
	}
	if got := r.Lookup("h"); got != nil {
		t.Errorf("look up h, which nobody added: got %+v, want nil", got)
	}
}
