package crds

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/podroute/podroute/config"
)

// update rewrites the golden: go test . -update.
var update = flag.Bool("update", false, "rewrite golden files")

// TestAgree feeds every manifest of the configuration's tests, and those of testdata, to both.
func TestAgree(t *testing.T) {
	t.Parallel()
	kinds := load(t)
	var left strings.Builder
	tried := 0
	for _, pattern := range []string{"../../config/testdata/problems/*.yaml", "testdata/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("no manifests: %s: %v", pattern, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, object := range documents(t, string(text)) {
				kind, ours := kinds[fmt.Sprint(object["kind"])]
				if !ours || object["apiVersion"] != config.APIVersion {
					continue
				}
				tried++
				problems := byGo(t, object)
				refusals := kind.refusals(t, object, nil)
				switch {
				case len(refusals) > 0 && len(problems) == 0:
					t.Errorf("%s: %s: the API refuses what a folder may hold:\n%s", file, kindName(object), strings.Join(refusals, "\n"))
				case len(refusals) == 0 && len(problems) > 0:
					for _, p := range problems {
						fmt.Fprintf(&left, "%s: %s\n", filepath.Base(file), p)
					}
				}
				wanted := metadataOf(object, "refused")
				if refused := len(refusals) > 0; wanted != "" && fmt.Sprint(refused) != wanted {
					t.Errorf("%s: %s: refused: %v, want %s\n%s", file, kindName(object), refused, wanted, strings.Join(refusals, "\n"))
				}
			}
		}
	}
	t.Logf("%d objects", tried)
	const golden = "testdata/left.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(left.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != left.String() {
		t.Errorf("what the schema leaves to the condition has changed; if that is meant, go test . -update\n%s", left.String())
	}
}

// byGo are the problems of the object by itself.
func byGo(t *testing.T, object map[string]any) []string {
	t.Helper()
	text, err := yaml.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	f := config.Parse("", text)
	var all []string
	for _, p := range f.Problems {
		p.Source = ""
		all = append(all, p.Error())
	}
	for _, o := range f.Objects {
		for _, p := range o.Problems {
			p.Source = ""
			all = append(all, p.Error())
		}
	}
	return all
}

// metadataOf is an annotation of the test's own.
func metadataOf(object map[string]any, name string) string {
	metadata, _ := object["metadata"].(map[string]any)
	annotations, _ := metadata["annotations"].(map[string]any)
	value, _ := annotations["test.podroute.io/"+name].(string)
	return value
}
