package routers

import (
	"fmt"
	"os"
	"testing"
)

// Feature is a row of the matrix of features and daemons that `make interop` makes of the tests.
type Feature struct {
	// Name is what it is called in docs/interop.md: an area, a colon, and what it is.
	Name string
	// Lacks says of daemons that cannot do it why, in the words of their documentation.
	Lacks map[Kind]string
}

// ListOnly is a variable of the environment. Where it is set tests of features say which cells they are, and skip what they test.
const ListOnly = "PODROUTE_LIST_FEATURES"

// Each runs a test of the feature against each daemon that has it: every subtest is a cell of the matrix. The
// features' tests have names that start with TestInterop: by that `make interop` finds them.
func (f Feature) Each(t *testing.T, test func(t *testing.T, kind Kind)) {
	t.Helper()
	for _, kind := range Kinds() {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			t.Attr("feature", f.Name)
			t.Attr("daemon", string(kind))
			if why, ok := f.Lacks[kind]; ok {
				t.Attr("lacks", why)
				return
			}
			if os.Getenv(ListOnly) != "" {
				t.Skip("asked for its name only")
			}
			test(t, kind)
		})
	}
}

// Measured tells a figure of a cell, on one line. `make interop` shows it beside the cell, also where it has passed.
func Measured(t *testing.T, format string, args ...any) {
	t.Helper()
	t.Attr("measured", fmt.Sprintf(format, args...))
}
