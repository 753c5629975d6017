package layering

import (
	"fmt"
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"os"
	"testing"
)

// TestLibraryTypesStopAtTheBorder: what a package offers to the others names no type of the library that
// it hides, however deep.
func TestLibraryTypesStopAtTheBorder(t *testing.T) {
	t.Parallel()
	borders := map[string][]string{ // package: libraries that its exported names may not mention
		"bgp":          {"github.com/osrg/gobgp"},
		"cni":          {"github.com/containerd/ttrpc", "github.com/vishvananda", "github.com/mdlayher"},
		"config":       {"sigs.k8s.io/yaml"},
		"config/file":  {"github.com/fsnotify/fsnotify"},
		"internal/lab": {"github.com/vishvananda", "gopkg.in/yaml.v3"},
		"internal/nft": {"github.com/google/nftables", "github.com/mdlayher"},
		"ipam":         {"k8s.io", "github.com"},
		"routes":       {"github.com/vishvananda", "github.com/mdlayher", "golang.org/x/sys"},
	}
	args := []string{"-export", "-deps"}
	for path := range borders {
		args = append(args, "./"+path)
	}
	packages := list(t, args...)
	imp := importer.ForCompiler(token.NewFileSet(), "gc", func(path string) (io.ReadCloser, error) {
		return os.Open(packages[path].Export)
	})
	for path, libraries := range borders {
		p, err := imp.Import(module + "/" + path)
		if err != nil {
			t.Fatal(err)
		}
		s := search{pkg: p, libraries: libraries, seen: map[types.Type]bool{}}
		for _, name := range p.Scope().Names() {
			if o := p.Scope().Lookup(name); o.Exported() {
				s.object(o, name)
			}
		}
		for _, f := range s.found {
			t.Errorf("%s: %s", path, f)
		}
		if s.looked == 0 {
			t.Errorf("%s exports nothing: not found?", path)
		}
	}
}

// search walks the types that a package's exported names are made of.
type search struct {
	pkg       *types.Package
	libraries []string
	seen      map[types.Type]bool
	looked    int
	found     []string
}

func (s *search) object(o types.Object, where string) {
	s.looked++
	s.typ(o.Type(), where)
}

func (s *search) typ(t types.Type, where string) {
	if s.seen[t] {
		return
	}
	s.seen[t] = true
	switch t := t.(type) {
	case *types.Named:
		s.named(t, where)
	case *types.Alias:
		s.typ(types.Unalias(t), where)
	case interface{ Elem() types.Type }: // pointer, slice, array, channel, and a map's values
		s.typ(t.Elem(), where)
		if m, ok := t.(*types.Map); ok {
			s.typ(m.Key(), where)
		}
	case *types.Signature:
		for v := range t.Params().Variables() {
			s.typ(v.Type(), where)
		}
		for v := range t.Results().Variables() {
			s.typ(v.Type(), where)
		}
	case *types.Struct:
		for f := range t.Fields() {
			if f.Exported() {
				s.typ(f.Type(), where+"."+f.Name())
			}
		}
	case *types.Interface:
		for m := range t.Methods() {
			s.typ(m.Type(), where+"."+m.Name())
		}
	}
}

// named looks into the package's own types, and reports those of the libraries.
func (s *search) named(t *types.Named, where string) {
	of := t.Obj().Pkg()
	switch {
	case of == nil: // error
	case of == s.pkg:
		s.typ(t.Underlying(), where)
		for m := range t.Methods() {
			if m.Exported() {
				s.typ(m.Type(), where+"."+m.Name())
			}
		}
	case within(of.Path(), s.libraries...):
		s.found = append(s.found, fmt.Sprintf("%s shows %s", where, t))
	}
	for a := range t.TypeArgs().Types() {
		s.typ(a, where)
	}
}
