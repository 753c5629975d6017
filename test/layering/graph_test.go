package layering

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/podroute/podroute"

// pkg is what `go list -json` says of a package, of which this is the part in use.
type pkg struct {
	ImportPath                         string
	Name                               string
	Export                             string // file with the compiler's export data
	Imports, TestImports, XTestImports []string
	Deps                               []string
}

// list runs go list at the module's root.
func list(t *testing.T, args ...string) map[string]pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-json=ImportPath,Name,Export,Imports,TestImports,XTestImports,Deps"}, args...)...)
	cmd.Dir = "../.."
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	packages := map[string]pkg{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatalf("go list %s: %v", strings.Join(args, " "), err)
		}
		packages[p.ImportPath] = p
	}
}

// within reports whether path is one of the trees or inside one.
func within(path string, trees ...string) bool {
	return slices.ContainsFunc(trees, func(tree string) bool {
		return path == tree || strings.HasPrefix(path, tree+"/")
	})
}

// short is a path of ours without the module's.
func short(path string) string { return strings.TrimPrefix(path, module+"/") }

// ours filters import paths for packages of this module, in short form.
func ours(paths ...[]string) []string {
	var out []string
	for _, p := range slices.Concat(paths...) {
		if within(p, module) {
			out = append(out, short(p))
		}
	}
	return out
}
