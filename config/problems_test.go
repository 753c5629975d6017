package config

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// update rewrites the goldens: go test ./config -update.
var update = flag.Bool("update", false, "rewrite golden files")

// TestProblems reads each file of testdata/problems and compares the problems, and what is in force
// nevertheless, with the golden beside it.
func TestProblems(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/problems/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".yaml"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			f := Parse(filepath.Base(path), text)
			var b Builder
			s := b.Build(Input{Objects: f.Objects, Problems: f.Problems, ReadFile: oneFile})
			got := describe(s)
			if strings.Contains(got, "hush") {
				t.Error("a secret is shown")
			}
			golden(t, strings.TrimSuffix(path, ".yaml")+".golden", got)
		})
	}
}

// oneFile is a file system with one password file.
func oneFile(name string) ([]byte, error) {
	if name == "here" {
		return []byte("hush-file\r\n"), nil
	}
	return nil, errors.New("no such file")
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// describe writes a snapshot's problems, a line each, and the names of what is in force.
func describe(s Snapshot) string {
	var b strings.Builder
	for _, p := range s.Problems {
		if p.Fatal {
			b.WriteString("FATAL ")
		}
		fmt.Fprintln(&b, p)
	}
	fmt.Fprintf(&b, "\nin force:\nRouterConfig AS %d mesh %s subnets %s\n",
		s.Router.Spec.ASNumber, s.Router.Spec.Mesh, s.Router.Spec.PodSubnets)
	for _, n := range s.Nodes {
		fmt.Fprintf(&b, "Node %s %v %v peers", n.Name, n.Addresses, n.PodCIDRs)
		for _, p := range s.PeersOf(n) {
			b.WriteString(" " + p.Name)
		}
		b.WriteString("\n")
	}
	for _, p := range s.Pools {
		fmt.Fprintf(&b, "AddressPool %s %s /%d\n", p.Name, p.Spec.Prefix(), p.Spec.BlockSize)
	}
	for _, o := range s.Blocks {
		fmt.Fprintf(&b, "AddressBlock %s %s\n", o.Spec.Prefix(), o.Spec.Node)
	}
	for _, n := range slices.Sorted(maps.Keys(s.Namespaces)) {
		fmt.Fprintf(&b, "Namespace %s %v\n", n, s.Namespaces[n])
	}
	for _, p := range s.Peers {
		password, err := s.Password(p)
		fmt.Fprintf(&b, "BGPPeer %s %s AS %s password %d bytes, %v\n", p.Name, p.Spec.Neighbour(), p.Spec.ASNumber, len(password), err)
	}
	for _, v := range s.Services {
		fmt.Fprintf(&b, "Service %s %s cluster %v external %v local %v ingress %v local %v IPv4 %v IPv6 %v", v.Key(), v.Type,
			v.ClusterIPs, v.ExternalIPs, v.InternalLocal, v.IngressIPs, v.ExternalLocal, v.IPv4, v.IPv6)
		for _, a := range s.Advertisements {
			if a.Spec.Services != nil {
				fmt.Fprintf(&b, " %s: %v", a.Name, a.Spec.Services.Kinds(v))
			}
		}
		b.WriteString("\n")
	}
	for _, a := range s.Advertisements {
		fmt.Fprintf(&b, "Advertisement %s %v\n", a.Name, a.Spec.Named())
	}
	return b.String()
}
