package demo

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"sigs.k8s.io/yaml"
)

// manifest is what this package reads of a v1 Node.
type manifest struct {
	Kind     string `json:"kind"`
	Metadata struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Spec struct {
		PodCIDRs []netip.Prefix `json:"podCIDRs"`
	} `json:"spec"`
	Status struct {
		Addresses []struct {
			Type    string     `json:"type"`
			Address netip.Addr `json:"address"`
		} `json:"addresses"`
	} `json:"status"`
}

// nodeFacts are a node's addresses and pod subnets, one of each a family.
type nodeFacts struct {
	addresses []netip.Addr
	subnets   []netip.Prefix
}

// readManifests collects the facts of all nodes in a folder of manifests.
func readManifests(dir string) (map[string]nodeFacts, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return nil, err
	}
	facts := map[string]nodeFacts{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		for _, doc := range bytes.Split(text, []byte("\n---\n")) {
			var m manifest
			if err := yaml.Unmarshal(doc, &m); err != nil {
				return nil, fmt.Errorf("%s: %w", f, err)
			}
			if m.Kind != "Node" {
				continue
			}
			n := nodeFacts{subnets: m.Spec.PodCIDRs}
			for _, a := range m.Status.Addresses {
				n.addresses = append(n.addresses, a.Address)
			}
			facts[m.Metadata.Name] = n
		}
	}
	return facts, nil
}

// ofFamily picks the address of a family, or the zero Addr.
func ofFamily(addrs []netip.Addr, is4 bool) netip.Addr {
	for _, a := range addrs {
		if a.Is4() == is4 {
			return a
		}
	}
	return netip.Addr{}
}

// families are both, in the order in which they are shown.
func families() []bool { return []bool{true, false} }

func familyName(is4 bool) string {
	if is4 {
		return "IPv4"
	}
	return "IPv6"
}
