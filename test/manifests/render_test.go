package manifests

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

const (
	deploy    = "../../deploy"
	chartPath = deploy + "/helm/podroute"
)

// objects are those that one command would send to the API server, by kind, namespace and name.
type objects map[string]object

type object struct {
	unstructured.Unstructured
	yaml []byte
}

// read splits a stream of manifests. Two objects of one name are an error.
func read(t *testing.T, text string, into objects) {
	t.Helper()
	for doc := range strings.SplitSeq("\n"+text, "\n---") {
		var o object
		if err := yaml.UnmarshalStrict([]byte(doc), &o.Object); err != nil {
			t.Fatalf("%v in\n%s", err, doc)
		}
		if len(o.Object) == 0 {
			continue
		}
		key := fmt.Sprintf("%s %s/%s", o.GetKind(), o.GetNamespace(), o.GetName())
		if _, twice := into[key]; twice {
			t.Errorf("%s stands there twice", key)
		}
		o.yaml = []byte(doc)
		into[key] = o
	}
}

// kustomize builds a folder as kubectl apply -k does.
func kustomize(t *testing.T, dir string) objects {
	t.Helper()
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		t.Fatal(err)
	}
	text, err := built.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	all := objects{}
	read(t, string(text), all)
	return all
}

func loadChart(t *testing.T) *chart.Chart {
	t.Helper()
	c, err := loader.LoadDir(chartPath)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// values reads a values file.
func values(t *testing.T, path string) map[string]any {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	v, err := loader.LoadValues(bytes.NewReader(text))
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return v
}

// template renders the chart's files as helm install does, after the schema has had its say.
func template(ctx context.Context, c *chart.Chart, v map[string]any) (map[string]string, error) {
	release := common.ReleaseOptions{Name: "podroute", Namespace: "kube-system", IsInstall: true}
	all, err := util.ToRenderValues(c, v, release, common.DefaultCapabilities.Copy())
	if err != nil {
		return nil, err
	}
	return engine.Engine{Strict: true}.RenderWithContext(ctx, c, all)
}

// helm renders the chart, with its CRDs.
func helm(t *testing.T, v map[string]any) objects {
	t.Helper()
	c := loadChart(t)
	files, err := template(t.Context(), c, v)
	if err != nil {
		t.Fatal(err)
	}
	all := objects{}
	for _, crd := range c.CRDObjects() {
		read(t, string(crd.File.Data), all)
	}
	for name, text := range files {
		if filepath.Ext(name) == ".yaml" {
			read(t, text, all)
		}
	}
	return all
}
