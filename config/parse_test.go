package config

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// FuzzParse: no input makes the parser or the builder panic, each object comes out valid or with a
// problem, problems never show the value of a Secret, and building twice says the same.
func FuzzParse(f *testing.F) {
	seeds, err := filepath.Glob("testdata/problems/*.yaml")
	if err != nil || len(seeds) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, path := range seeds {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	for _, text := range []string{
		"", "---\n---", "...\n", "\ufeffkind: x", "{}", "[]", "null", "a: &a [*a]", "--- {apiVersion: v1, kind: Node, metadata: {name: n}}",
		`{"apiVersion":"v1","kind":"List","items":[{"kind":"List","items":[]}]}`, "%YAML 1.2\n--- x\n... y\n", "? {a: b}\n: c", "a: !!binary x", "\r\n---\r\n",
		"apiVersion: podroute.io/v1alpha1\nkind: BGPPeer\nmetadata: {name: a}\nspec: {asNumber: .inf, address: !!float 1}\n",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		file := Parse("f.yaml", text)
		for _, o := range file.Objects {
			if (o.Value == nil) != (len(o.Problems) > 0) || o.Name == "" {
				t.Errorf("object %+v", o)
			}
		}
		var b Builder
		in := Input{Objects: file.Objects, Problems: file.Problems, ReadFile: oneFile}
		s := b.Build(in)
		if _, err := json.Marshal(s); err != nil {
			t.Errorf("snapshot cannot be written: %v", err)
		}
		for _, p := range s.Problems {
			if p.Message == "" || p.Mend == "" || p.Source == "" || strings.Contains(p.Error(), "\n") {
				t.Errorf("problem %#v", p)
			}
			for _, o := range file.Objects {
				shows(t, p, o.Value)
			}
		}
		again := b.Build(in)
		if !reflect.DeepEqual(again.Nodes, s.Nodes) || !reflect.DeepEqual(again.Peers, s.Peers) || !reflect.DeepEqual(again.Pools, s.Pools) {
			t.Errorf("built again:\n got %+v\nwant %+v", again, s)
		}
	})
}

// shows fails where a problem holds a password of some length; short ones are in any text.
func shows(t *testing.T, p Problem, value any) {
	secret, ok := value.(*Secret)
	if !ok {
		return
	}
	for _, password := range secret.Data {
		if len(password) > 12 && !strings.Contains("podroute.io/v1alpha1 "+p.Object+p.Field, string(password)) && strings.Contains(p.Message, string(password)) {
			t.Errorf("problem %v shows a password", p)
		}
	}
}

// TestSplitDocuments: markers, byte order mark, content on the separator's line, line numbers.
func TestSplitDocuments(t *testing.T) {
	t.Parallel()
	text := "\ufeff%YAML 1.2\n---\n# comment\n---\na: 1\n--- # two\nb: |\n  ---\n  x\n---y: 3\n--- {c: 4}\n...\n\n---\r\nd: 5\r\n"
	var got []string
	for _, d := range splitDocuments([]byte(text)) {
		got = append(got, fmt.Sprintf("%d %q", d.line, d.text))
	}
	want := []string{
		`3 "   \na: 1\n"`, `5 "    # two\nb: |\n  ---\n  x\n---y: 3\n"`, `10 "    {c: 4}\n"`, `13 "   \r\nd: 5\r\n"`,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("documents:\n got %s\nwant %s", strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
}

// TestParseJSON: a JSON file is as good as YAML.
func TestParseJSON(t *testing.T) {
	t.Parallel()
	f := Parse("f.json", []byte(`{"apiVersion": "podroute.io/v1alpha1", "kind": "BGPPeer",
		"metadata": {"name": "tor"}, "spec": {"address": "192.0.2.1", "asNumber": 4200000000}}`))
	if len(f.Objects) != 1 || len(f.Problems) > 0 || len(f.Objects[0].Problems) > 0 {
		t.Fatalf("file %+v", f)
	}
	if n, ok := f.Objects[0].Value.(*BGPPeer).Spec.ASNumber.Number(); !ok || n != 4200000000 {
		t.Errorf("AS %d, %v", n, ok)
	}
}

// TestASNumber: numbers and strings come back as they were.
func TestASNumber(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{`64512`: `64512`, `"64512"`: `64512`, `"internal"`: `"internal"`, `4294967296`: `"4294967296"`, `null`: `""`, `1.5`: `"1.5"`} {
		var a ASNumber
		if err := json.Unmarshal([]byte(text), &a); err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got, err := json.Marshal(a); err != nil || string(got) != want {
			t.Errorf("%s comes back as %s, %v, want %s", text, got, err, want)
		}
	}
	var a ASNumber
	if err := json.Unmarshal([]byte(`true`), &a); err == nil {
		t.Errorf("true is AS %q", string(a))
	}
}

// TestBlockName: the names of AddressBlocks.
func TestBlockName(t *testing.T) {
	t.Parallel()
	for cidr, want := range map[string]string{
		"10.0.0.0/26": "10-0-0-0-26", "fd00:1::/122": "fd00-0001-0000-0000-0000-0000-0000-0000-122",
	} {
		if got := BlockName(Prefixes([]string{cidr})[0]); got != want {
			t.Errorf("%s is %s, want %s", cidr, got, want)
		}
	}
}

// TestLarge: a cluster of 5000 nodes is read and built in seconds, not minutes, also when subnets differ
// in length.
func TestLarge(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	fmt.Fprintf(&text, routerText, "mesh: None, clusterCIDRs: [10.0.0.0/8], nodeCIDRs: [172.16.0.0/12]")
	const count = 5000
	for i := range count {
		bits := 26 - i%3
		fmt.Fprintf(&text, nodeText, fmt.Sprintf("n%d", i), fmt.Sprintf("10.%d.%d.0/%d", i>>8, i&255, bits), fmt.Sprintf("172.16.%d.%d", i>>8, i&255))
	}
	start := time.Now()
	f := Parse("nodes.yaml", []byte(text.String()))
	parsed := time.Since(start)
	var b Builder
	s := b.Build(Input{Objects: f.Objects, Problems: f.Problems})
	built := time.Since(start) - parsed
	t.Logf("%d nodes: parsed in %v, built in %v", count, parsed, built)
	if len(s.Nodes) != count || len(s.Problems) > 0 {
		t.Fatalf("%d nodes, problems %.3v", len(s.Nodes), s.Problems)
	}
	if built > 20*time.Second {
		t.Errorf("building took %v", built)
	}
}
