package crds

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/install"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdvalidation "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/json" // whole numbers are int64, as in the API server
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"
)

// crd is a kind as the API server would serve it.
type crd struct {
	structural *schema.Structural
	values     validation.SchemaValidator
	rules      *cel.Validator
}

// load reads the CRDs, as the API server does when they are created.
func load(t *testing.T) map[string]crd {
	t.Helper()
	files, err := filepath.Glob("../../deploy/crds/podroute.io_*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no CRDs: %v", err)
	}
	scheme := runtime.NewScheme()
	install.Install(scheme)
	all := map[string]crd{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var v1 apiextensionsv1.CustomResourceDefinition
		if err := yaml.UnmarshalStrict(text, &v1); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		scheme.Default(&v1)
		v1.Status.StoredVersions = []string{"v1alpha1"}
		var internal apiextensions.CustomResourceDefinition
		if err := scheme.Convert(&v1, &internal, nil); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, err := range crdvalidation.ValidateCustomResourceDefinition(t.Context(), &internal) {
			t.Errorf("%s: the API server would refuse it: %v", file, err)
		}
		all[internal.Spec.Names.Kind] = compile(t, file, internal)
	}
	return all
}

func compile(t *testing.T, file string, internal apiextensions.CustomResourceDefinition) crd {
	t.Helper()
	props := internal.Spec.Validation
	if props == nil {
		props = internal.Spec.Versions[0].Schema
	}
	structural, err := schema.NewStructural(props.OpenAPIV3Schema)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	values, _, err := validation.NewSchemaValidator(props.OpenAPIV3Schema)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return crd{structural, values, cel.NewValidator(structural, true, celconfig.PerCallLimit)}
}

// refusals are the reasons for which the API server would not create the object, or with an old one not
// change that to it.
func (c crd) refusals(t *testing.T, object, old map[string]any) []string {
	t.Helper()
	var why []string
	copied := runtime.DeepCopyJSON(object)
	for _, field := range pruning.PruneWithOptions(copied, c.structural, true, schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}) {
		why = append(why, "unknown field "+field) // kubectl validates strictly
	}
	for _, err := range validation.ValidateCustomResource(nil, copied, c.values) {
		why = append(why, err.Error())
	}
	if len(why) > 0 {
		return why // rules are not tried on values of the wrong type
	}
	for _, err := range listtype.ValidateListSetsAndMaps(nil, c.structural, copied) {
		why = append(why, err.Error())
	}
	var before any
	if old != nil {
		before = old
	}
	errs, _ := c.rules.Validate(t.Context(), nil, c.structural, copied, before, celconfig.RuntimeCELCostBudget)
	for _, err := range errs {
		why = append(why, err.Error())
	}
	return why
}

// documents cuts a file into objects; what is no object is left out.
func documents(t *testing.T, text string) []map[string]any {
	t.Helper()
	var all []map[string]any
	for _, part := range strings.Split("\n"+text, "\n---") {
		var object map[string]any
		asJSON, err := yaml.YAMLToJSON([]byte(part))
		if err == nil && json.Unmarshal(asJSON, &object) == nil && object != nil {
			all = append(all, object)
		}
	}
	return all
}

func kindName(object map[string]any) string {
	metadata, _ := object["metadata"].(map[string]any)
	return fmt.Sprintf("%v/%v", object["kind"], metadata["name"])
}
