package layering

import (
	"slices"
	"testing"
)

// layers says which packages of ours each package may import. A package stands for everything below
// it, but the entry for the longest path counts. A package without an entry is an error: it has no
// place yet.
func layers() map[string][]string {
	return map[string][]string{
		"cmd/podroute":     {"internal/agent", "config", "routes", "bgp/bfd"}, // doctor looks at the host where no agent runs
		"cmd/podroute-cni": {"cni/client"},
		"cmd/podroute-lab": {"internal/lab"},
		"internal/agent":   {"bgp", "cni", "config", "internal/agent/agentpb", "internal/ndp", "internal/nft", "ipam", "routes", "internal/failpoint", "internal/prefixmap"},

		// Siblings: none imports another.
		"bgp":          {"bgp", "internal/failpoint", "internal/prefixmap"},
		"cni":          {"cni", "internal/failpoint"},
		"config":       {"config"},
		"internal/lab": {},
		"internal/nft": {},
		"ipam":         {},
		"routes":       {"internal/failpoint", "internal/prefixmap"},

		// For tests, benchmarks and the build.
		"cni/internal/serve":  {"cni", "ipam"}, // the real server in a process that tests may kill
		"hack":                {},
		"internal/bmpstation": {"internal/nstest"},
		"internal/failpoint":  {},
		"internal/httpload":   {},
		"internal/prefixmap":  {},
		"internal/ndp":        {},
		"internal/nstest":     {},
		"internal/rawbgp":     {},
		"internal/routers":    {"internal/nstest"},
		"test":                {"internal/httpload", "internal/nstest", "internal/rawbgp", "internal/routers"},
	}
}

// place finds the entry for a package.
func place(path string, layers map[string][]string) (string, bool) {
	best, ok := "", false
	for p := range layers {
		if within(path, p) && len(p) > len(best) {
			best, ok = p, true
		}
	}
	return best, ok
}

func TestPackagesImportDownwards(t *testing.T) {
	t.Parallel()
	table := layers()
	used := map[string]bool{}
	for path, p := range list(t, "./...") {
		at, ok := place(short(path), table)
		if !ok {
			t.Errorf("%s has no place in the layers: give it one here and in docs/design.md section 1", short(path))
			continue
		}
		used[at] = true
		for _, imported := range ours(p.Imports) {
			if target, _ := place(imported, table); target != at && !within(imported, table[at]...) {
				t.Errorf("%s imports %s; it may import %v", short(path), imported, table[at])
			}
		}
	}
	if !used["bgp"] || !used["cmd/podroute-cni"] {
		t.Errorf("go list ./... found too little: %v", used)
	}
}

// TestOnlyTestsUseTestPackages: what serves tests is in no binary, and siblings' tests do not import
// siblings either, but for the CNI server's, which wires pods with the real allocator.
func TestOnlyTestsUseTestPackages(t *testing.T) {
	t.Parallel()
	forTests := []string{"internal/bmpstation", "internal/httpload", "internal/nstest", "internal/rawbgp", "internal/routers", "cni/internal/serve", "test", "hack"}
	siblings := []string{"bgp", "cni", "config", "internal/lab", "internal/nft", "ipam", "routes"}
	for path, p := range list(t, "./...") {
		path = short(path)
		if within(path, "cmd") {
			for _, dep := range ours(p.Deps) {
				if within(dep, forTests...) {
					t.Errorf("%s links %s, which is for tests", path, dep)
				}
			}
		}
		if !within(path, siblings...) {
			continue
		}
		for _, imported := range ours(p.TestImports, p.XTestImports) {
			own := slices.IndexFunc(siblings, func(s string) bool { return within(path, s) && within(imported, s) })
			if within(imported, siblings...) && own < 0 && (path != "cni" || imported != "ipam") {
				t.Errorf("tests of %s import %s", path, imported)
			}
		}
	}
}

// fence keeps a library in its place.
type fence struct {
	library string   // a module's path, or the beginning of several
	inside  []string // packages of ours that may import it
}

func fences() []fence {
	return []fence{
		{"github.com/osrg/gobgp", []string{"bgp"}},
		{"github.com/google/nftables", []string{"internal/nft"}},
		{"github.com/vishvananda", []string{"routes", "cni", "internal/lab", "test"}},
		{"github.com/mdlayher", []string{"routes", "cni", "internal/lab", "internal/nft"}},
		{"k8s.io/client-go", []string{"config/kube"}},
		{"sigs.k8s.io/controller-runtime", []string{"config/kube"}},
		{"github.com/containerd/ttrpc", []string{"cni"}},
		{"github.com/containernetworking", []string{"cni", "internal/lab", "test"}},
		{"google.golang.org/grpc", []string{"internal/agent", "cmd/podroute"}},
		{"github.com/spf13/cobra", []string{"cmd"}},
	}
}

func TestLibrariesStayBehindTheirFence(t *testing.T) {
	t.Parallel()
	for path, p := range list(t, "./...") {
		for _, f := range fences() {
			if within(short(path), f.inside...) {
				continue
			}
			for _, imported := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
				if within(imported, f.library) {
					t.Errorf("%s imports %s, which is for %v", short(path), imported, f.inside)
				}
			}
		}
	}
}

// TestThePluginIsThin: the plugin is started for every pod, and what it links is most of what its start
// costs.
func TestThePluginIsThin(t *testing.T) {
	t.Parallel()
	plugin := module + "/cmd/podroute-cni"
	deps := list(t, "./cmd/podroute-cni")[plugin].Deps
	if len(deps) == 0 {
		t.Fatalf("go list knows no dependencies of %s", plugin)
	}
	for _, dep := range deps {
		own := within(dep, module) && !within(dep, module+"/cni", module+"/internal/failpoint")
		heavy := within(dep, "github.com/osrg/gobgp", "k8s.io", "sigs.k8s.io", "github.com/google/nftables", "github.com/spf13",
			"github.com/vishvananda", "github.com/mdlayher", "net/http", "crypto/tls", "text/template", "regexp", "log/slog")
		// Of gRPC, ttrpc takes the status codes; the machinery stays out.
		grpc := dep == "google.golang.org/grpc" || within(dep, "google.golang.org/grpc/internal/transport", "golang.org/x/net")
		if own || heavy || grpc || dep == module+"/cni" {
			t.Errorf("the plugin links %s", dep)
		}
	}
}
