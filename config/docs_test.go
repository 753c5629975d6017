package config

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

const reference = "../docs/configuration.md"

// TestDocsExamples: each block of YAML in the docs that holds manifests is without problems; those of the
// reference are complete, too.
func TestDocsExamples(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob("../docs/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatalf("no pages: %v", err)
	}
	examples := 0
	for _, page := range append(pages, "../README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for i, block := range yamlBlocks(text) {
			mark := "apiVersion: " + APIVersion // other pages show what others read, too
			if page == reference {
				mark = "apiVersion: "
			}
			if !bytes.Contains(block, []byte(mark)) {
				continue
			}
			f := Parse(fmt.Sprintf("%s, block %d", filepath.Base(page), i+1), block)
			in := Input{Objects: f.Objects, Problems: f.Problems, ReadFile: func(string) ([]byte, error) { return []byte("x"), nil }}
			var b Builder
			problems := b.Build(in).Problems
			if page != reference { // an example may refer to what it does not show
				problems = f.Problems
				for _, o := range f.Objects {
					problems = append(problems, o.Problems...)
				}
			}
			for _, p := range problems {
				t.Error(p)
			}
			examples += len(f.Objects)
		}
	}
	if examples < 10 {
		t.Errorf("only %d objects in all examples", examples)
	}
}

// yamlBlocks are the fenced blocks marked as yaml.
func yamlBlocks(page []byte) [][]byte {
	var blocks [][]byte
	for _, part := range bytes.Split(page, []byte("```yaml\n"))[1:] {
		block, _, _ := bytes.Cut(part, []byte("\n```"))
		blocks = append(blocks, append(block, '\n'))
	}
	return blocks
}

// TestDocsFields: the reference names every field of every kind, and shows each in an example unless it
// is not served.
func TestDocsFields(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	examples := string(bytes.Join(yamlBlocks(text), nil))
	unserved := map[string]bool{}
	quiet := map[string]bool{"AddressPool.disabled": true, "AddressPool.nodeSelector": true, "BGPPeer.localAS": true, "BGPPeer.password.secretRef.namespace": true}
	for kind, spec := range map[string]any{
		"RouterConfig": RouterConfigSpec{}, "BGPPeer": BGPPeerSpec{}, "AddressPool": AddressPoolSpec{},
		"AddressBlock": AddressBlockSpec{}, "Advertisement": AdvertisementSpec{},
	} {
		for _, path := range fieldPaths(reflect.TypeOf(spec)) {
			name := path[strings.LastIndex(path, ".")+1:]
			if !strings.Contains(string(text), "`"+path+"`") && !strings.Contains(string(text), "`"+name+"`") {
				t.Errorf("%s: spec.%s is not in %s", kind, path, reference)
			}
			if full := kind + "." + path; !unserved[full] && !quiet[full] && !strings.Contains(examples, name+":") {
				t.Errorf("%s: spec.%s is in no example", kind, path)
			}
		}
	}
}

// fieldPaths are the paths of the fields of a struct of ours that hold values.
func fieldPaths(t reflect.Type) []string {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || t.PkgPath() != reflect.TypeFor[Problem]().PkgPath() || t.Name() == "LengthRange" {
		return []string{""}
	}
	var paths []string
	for name, ft := range jsonFields(t) {
		for _, below := range fieldPaths(ft) {
			paths = append(paths, strings.TrimSuffix(name+"."+below, "."))
		}
	}
	return paths
}
