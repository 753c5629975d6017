package routers

import "testing"

// Feature is a row of the matrix of features and daemons that `make interop` makes of the tests.
type Feature struct {
	// Name is what it is called in docs/interop.md: an area, a colon, and what it is.
	Name string
	// Lacks says of daemons that cannot do it why, in the words of their documentation.
	Lacks map[Kind]string
}

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
			test(t, kind)
		})
	}
}
