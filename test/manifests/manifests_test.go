package manifests

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/podroute/podroute/config"
)

// overlays lists the folders of deploy/overlays.
func overlays(t *testing.T) []string {
	t.Helper()
	dirs, err := filepath.Glob(deploy + "/overlays/*")
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no overlays: %v", err)
	}
	return dirs
}

// TestSameObjects: kubectl apply -k and helm install send the same to the API server.
func TestSameObjects(t *testing.T) {
	t.Parallel()
	type pair struct{ kustomization, values string }
	pairs := []pair{{"testdata/passwords", "testdata/passwords/values.yaml"}}
	for _, dir := range overlays(t) {
		pairs = append(pairs, pair{dir, filepath.Join(chartPath, "examples", filepath.Base(dir)+".yaml")})
	}
	for _, p := range pairs {
		t.Run(filepath.Base(p.kustomization), func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(plain(kustomize(t, p.kustomization)), plain(helm(t, values(t, p.values)))); diff != "" {
				t.Errorf("%s (-) and the chart with %s (+) differ:\n%s", p.kustomization, p.values, diff)
			}
		})
	}
	t.Run("base", func(t *testing.T) {
		t.Parallel()
		if diff := cmp.Diff(plain(kustomize(t, deploy+"/base")), plain(helm(t, nil))); diff != "" {
			t.Errorf("the base (-) and the chart without values (+) differ:\n%s", diff)
		}
	})
}

func plain(all objects) map[string]any {
	m := map[string]any{}
	for key, o := range all {
		m[key] = o.Object
	}
	return m
}

// TestCRDs: the chart has them all, and kustomize lists them all.
func TestCRDs(t *testing.T) {
	t.Parallel()
	read := func(dir string) map[string]string {
		paths, err := filepath.Glob(dir + "/*.yaml")
		if err != nil {
			t.Fatal(err)
		}
		files := map[string]string{}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			files[filepath.Base(path)] = string(text)
		}
		return files
	}
	want := read(deploy + "/crds")
	if diff := cmp.Diff(want, read(chartPath+"/crds")); diff != "" {
		t.Errorf("deploy/crds (-) and the chart's (+) differ\n%s", diff)
	}
	if got := kustomize(t, deploy+"/crds"); len(got) != len(want) {
		t.Errorf("deploy/crds/Kustomization lists %d of %d CRDs", len(got), len(want))
	}
}

// TestTypes: every object is one of its kind, without a field that the kind does not have.
func TestTypes(t *testing.T) {
	t.Parallel()
	decoder := strictDecoder(t)
	for _, dir := range append(overlays(t), deploy+"/prepull", deploy+"/containerlab/k8s-kind", "testdata/passwords") {
		for key, o := range kustomize(t, dir) {
			if strings.HasPrefix(o.GetAPIVersion(), config.Group+"/") {
				continue // TestRouting
			}
			if _, _, err := decoder.Decode(o.yaml, nil, nil); err != nil && !runtime.IsMissingVersion(err) {
				t.Errorf("%s: %s: %v", dir, key, err)
			}
		}
	}
}

// TestRouting: an agent accepts the objects of our own kinds without a word.
func TestRouting(t *testing.T) {
	t.Parallel()
	for _, dir := range append(overlays(t), deploy+"/containerlab/k8s-kind") {
		var text bytes.Buffer
		kinds := map[string]int{}
		for _, o := range kustomize(t, dir) {
			if strings.HasPrefix(o.GetAPIVersion(), config.Group+"/") {
				kinds[o.GetKind()]++
				text.WriteString("---\n")
				text.Write(o.yaml)
				text.WriteString("\n")
			}
		}
		if kinds["RouterConfig"] != 1 {
			t.Errorf("%s: %d RouterConfigs, want 1", dir, kinds["RouterConfig"])
		}
		node, err := os.ReadFile("testdata/node.yaml")
		if err != nil {
			t.Fatal(err)
		}
		text.Write(node)
		file := config.Parse(dir, text.Bytes())
		var b config.Builder
		snapshot := b.Build(config.Input{Objects: file.Objects})
		for _, p := range slices.Concat(file.Problems, snapshot.Problems) {
			t.Errorf("%s: %v", dir, p)
		}
		if err := snapshot.Fatal("n1"); err != nil {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

// TestSchema: values that are mistaken are refused before anything is rendered.
func TestSchema(t *testing.T) {
	t.Parallel()
	c := loadChart(t)
	for want, v := range map[string]map[string]any{
		"/image/tag":     {"image": map[string]any{"tag": "latest"}},
		"'bgpPeer'":      {"bgpPeer": map[string]any{}},
		"/bgpPeers":      {"bgpPeers": []any{map[string]any{"name": "x"}}},
		"/logLevel":      {"logLevel": "loud"},
		"memory":         {"resources": map[string]any{"limits": map[string]any{"memory": nil}}},
		"/cni/binDir":    {"cni": map[string]any{"binDir": "opt"}},
		"maxUnavailable": {"maxUnavailable": 0},
	} {
		if _, err := template(t.Context(), c, v); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want an error about %s", v, err, want)
		}
	}
	notes, err := template(t.Context(), c, map[string]any{"routerConfig": map[string]any{"mesh": "None"}})
	if err != nil {
		t.Fatal(err)
	}
	if text := notes["podroute/templates/NOTES.txt"]; !strings.Contains(text, "There are no bgpPeers") {
		t.Errorf("notes without a neighbour:\n%s", text)
	}
}

// TestBigNumbers: helm reads numbers as floating point; an AS number of four bytes stays what it is.
func TestBigNumbers(t *testing.T) {
	t.Parallel()
	v := map[string]any{"routerConfig": map[string]any{"asNumber": float64(4200000003)}}
	if got := string(helm(t, v)["RouterConfig /default"].yaml); !strings.Contains(got, "asNumber: 4200000003\n") {
		t.Errorf("RouterConfig:\n%s", got)
	}
}
