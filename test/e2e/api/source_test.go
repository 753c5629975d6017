package api

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podroute/podroute/config"
	"github.com/podroute/podroute/config/file"
	"github.com/podroute/podroute/config/kube"
	"github.com/podroute/podroute/test/e2e/api/apiserver"
)

// open runs the Source of a node until the returned function is called, or the test ends.
func open(t *testing.T, s *apiserver.Server, node, runDir string) (*kube.Source, func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo})).With("node", node)
	source, err := kube.New(ctx, kube.Options{Log: log, NodeName: node, Kubeconfig: s.Agent(node), RunDir: runDir})
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- source.Run(ctx) }()
	ended := false
	stop := func() {
		if ended {
			return
		}
		ended = true
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return source, stop
}

// TestFolder: kubectl apply -f of a folder gives what the folder gives.
func TestFolder(t *testing.T) {
	const folder = "testdata/folder"
	s := apiserver.Start(t)
	s.Kubectl("apply", "--server-side", "-f", folder)
	for node, address := range map[string]string{"n1": "192.0.2.1", "n2": "192.0.2.2"} { // kubectl apply sets no status
		s.Kubectl("patch", "node", node, "--subresource=status", "-p", `{"status":{"addresses":[{"type":"InternalIP","address":"`+address+`"}]}}`)
	}
	allowSecrets(s)
	source, _ := open(t, s, "n1", "")
	want, err := file.Load(folder)
	if err != nil {
		t.Fatal(err)
	}
	same := cmp.Options{
		cmpopts.IgnoreFields(metav1.ObjectMeta{}, "UID", "CreationTimestamp"),
		cmpopts.IgnoreTypes(metav1.TypeMeta{}),
		cmpopts.IgnoreFields(config.Problem{}, "Source"),
		cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}),
		cmp.FilterPath(func(p cmp.Path) bool { return strings.HasSuffix(p.String(), "Labels") },
			cmpopts.IgnoreMapEntries(func(k, _ string) bool { return strings.HasPrefix(k, "kubernetes.io/") })),
	}
	var diff string
	t.Cleanup(func() {
		if diff != "" {
			t.Log(diff)
		}
	})
	s.Eventually("the API says what the folder says", within, func() bool {
		diff = cmp.Diff(parts(want), parts(source.Snapshot()), same)
		return diff == ""
	})
	if len(want.Problems) > 0 || len(want.Peers) != 2 {
		t.Errorf("the folder is not good: %v", want.Problems)
	}

	// What is in force says so on itself, and columns show it.
	s.Eventually("every object is accepted", within, func() bool {
		out := s.Kubectl("get", "routerconfigs,bgppeers,addresspools,advertisements", "--no-headers", "-o",
			`custom-columns=A:.status.conditions[?(@.type=="Accepted")].status,G:.status.conditions[?(@.type=="Accepted")].observedGeneration`)
		return strings.Count(out, "True") == 6 && !strings.Contains(out, "<none>")
	})
	for short, want := range map[string][]string{
		"rcfg": {"AS", "MESH", "ACCEPTED", "4200000001", "Pool", "True"}, "bgpp": {"ADDRESS", "2001:db8::1", "internal", "65001"},
		"apool": {"CIDR", "fd00:10:244::/56"}, "ablock": {"NODE", "10.244.1.0/26", "n1", "pods"}, "adv": {"PEERS", "tor1"},
		"podroute": {"bgppeer.podroute.io/tor1", "addressblock.podroute.io/10-244-1-0-26", "routerconfig.podroute.io/default"},
	} {
		out := s.Kubectl("get", short)
		for _, text := range want {
			if !strings.Contains(out, text) {
				t.Errorf("kubectl get %s lacks %q:\n%s", short, text, out)
			}
		}
	}
}

// parts are those of a Snapshot, which as a whole compares itself.
func parts(s config.Snapshot) []any {
	return []any{s.Router, s.Peers, s.Pools, s.Blocks, s.Advertisements, s.Nodes, s.Secrets, s.Problems}
}

// allowSecrets lets agents read the Secrets of kube-system.
func allowSecrets(s *apiserver.Server) {
	s.Apply(`
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: podroute-secrets, namespace: kube-system}
rules: [{apiGroups: [""], resources: [secrets], verbs: [get, list, watch]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: podroute-secrets, namespace: kube-system}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: podroute-secrets}
subjects: [{kind: ServiceAccount, name: podroute, namespace: kube-system}]
`)
}

// TestRefused: what Go refuses and the schema can see never gets into the API; what only Go sees gets the
// condition, and touches nothing else.
func TestRefused(t *testing.T) {
	s := apiserver.Start(t)
	const head = "apiVersion: podroute.io/v1alpha1\nkind: "
	for manifest, why := range map[string]string{
		"RouterConfig\nmetadata: {name: other}\nspec: {}":                                                                  "name it default",
		"RouterConfig\nmetadata: {name: default}\nspec: {mesh: None}":                                                      "needs clusterCIDRs and nodeCIDRs",
		"BGPPeer\nmetadata: {name: a}\nspec: {address: 192.0.2.1, interface: eth0, asNumber: 1}":                           "exactly one of",
		"BGPPeer\nmetadata: {name: a}\nspec: {address: 192.0.2.1, asNumber: 1, multihopTTL: 2, ttlSecurity: 1}":            "excludes multihopTTL",
		"BGPPeer\nmetadata: {name: a}\nspec: {address: 192.0.2.1, asNumber: 1, asnumber: 2}":                               "unknown field",
		"AddressPool\nmetadata: {name: a}\nspec: {cidr: 10.0.0.1/16}":                                                      "without host bits",
		"AddressBlock\nmetadata: {name: 10-0-0-64-26}\nspec: {cidr: 10.0.0.0/26, node: a}":                                 "must be named as its CIDR",
		"AddressBlock\nmetadata: {name: fd00-0000-0000-0000-0000-0000-0000-0040-122}\nspec: {cidr: 'fd00::/122', node: a}": "must be named as its CIDR",
	} {
		path := filepath.Join(t.TempDir(), "a.yaml")
		if err := os.WriteFile(path, []byte(head+manifest), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Try("create", "-f", path); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s\nwas refused with %v, want %q", manifest, err, why)
		}
	}

	s.Apply("apiVersion: v1\nkind: Node\nmetadata: {name: n1}\n")
	s.Apply(head + "BGPPeer\nmetadata: {name: good}\nspec: {address: 192.0.2.1, asNumber: 65001}\n")
	s.Apply(head + "BGPPeer\nmetadata: {name: edited}\nspec: {address: 192.0.2.2, asNumber: 65001}\n")
	source, _ := open(t, s, "n1", "")
	s.Kubectl("patch", "bgppeer", "edited", "--type=merge", "-p", `{"spec":{"address":"224.0.0.5"}}`)
	s.Apply(head + "BGPPeer\nmetadata: {name: bad}\nspec: {address: 224.0.0.6, asNumber: 65001}\n")
	status := func(name string) string {
		return s.Kubectl("get", "bgppeer", name, "-o", `jsonpath={range .status.conditions[*]}{.type} {.status} {.reason} {.observedGeneration} {.message}{end}`)
	}
	for name, want := range map[string]string{
		"good":   "Accepted True Accepted 1 in force",
		"bad":    "Accepted False Refused 1 spec.address: 224.0.0.6 is no address of a neighbour: use the neighbour's address",
		"edited": "Accepted False Kept 2 spec.address: 224.0.0.5 is no address of a neighbour: use the neighbour's address (the last good version stays in force)",
	} {
		s.Eventually(name+" says "+want, within, func() bool { return status(name) == want })
	}
	var peers []string
	for _, p := range source.Snapshot().Peers {
		peers = append(peers, p.Name+" "+p.Spec.Address)
	}
	if got := strings.Join(peers, ", "); got != "edited 192.0.2.2, good 192.0.2.1" {
		t.Errorf("in force: %s", got)
	}
}
