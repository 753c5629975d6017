package kube

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/podroute/podroute/config"
)

const (
	nodeN1 = `{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1", "labels": {"rack": "r1"}}, "spec": {"podCIDRs": ["10.244.1.0/24"]},
		"status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]}}`
	alone = `{"apiVersion": "podroute.io/v1alpha1", "kind": "RouterConfig", "metadata": {"name": "default"},
		"spec": {"mesh": "None", "clusterCIDRs": ["10.244.0.0/16"], "nodeCIDRs": ["192.0.2.0/24"]}}`
)

func peer(name string, number int, more string) string {
	return fmt.Sprintf(`{"apiVersion": "podroute.io/v1alpha1", "kind": "BGPPeer", "metadata": {"name": %q},
		"spec": {"address": "198.51.100.%d", "asNumber": 65001%s}}`, name, number, more)
}

func secret(name, password string) string {
	return fmt.Sprintf(`{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": %q, "namespace": "kube-system"}, "stringData": {"password": %q}}`, name, password)
}

// names are the peers in force.
func names(s config.Snapshot) string {
	var all []string
	for _, p := range s.Peers {
		all = append(all, p.Name)
	}
	return strings.Join(all, " ")
}

func awaitPeers(t *testing.T, s *Source, want string) {
	t.Helper()
	eventually(t, "peers in force: "+want, func() bool { return names(s.Snapshot()) == want })
}

// TestFollow: objects come, change and go, read by a watch or by pages.
func TestFollow(t *testing.T) {
	t.Parallel()
	for _, stream := range []bool{true, false} {
		t.Run(fmt.Sprintf("stream %v", stream), func(t *testing.T) {
			t.Parallel()
			f := newFakeAPI(t)
			f.stream = stream
			f.put("nodes", nodeN1)
			for i := 1; i <= 5; i++ { // more than two pages
				f.put("bgppeers", peer(fmt.Sprintf("p%d", i), i, ""))
			}
			s := f.source("")
			if got := names(s.Snapshot()); got != "p1 p2 p3 p4 p5" {
				t.Fatalf("at once in force: %s", got)
			}
			f.put("bgppeers", peer("p6", 6, ""))
			f.remove("bgppeers", "p1")
			awaitPeers(t, s, "p2 p3 p4 p5 p6")
			f.put("bgppeers", peer("p2", 22, ""))
			eventually(t, "the change", func() bool { return s.Snapshot().Peers[0].Spec.Address == "198.51.100.22" })
		})
	}
}

// TestOutage: a lost watch goes on where it was; only a version that is not known any more has everything read
// anew.
func TestOutage(t *testing.T) {
	t.Parallel()
	f := newFakeAPI(t)
	f.put("nodes", nodeN1)
	f.put("bgppeers", peer("p1", 1, ""))
	s := f.source("")
	f.set(func() { f.away = true })
	eventually(t, "the outage is felt", func() bool { return f.count("GET") > 15 })
	f.put("bgppeers", peer("p2", 2, ""))
	if got := names(s.Snapshot()); got != "p1" {
		t.Errorf("in force during the outage: %s", got)
	}
	f.set(func() { f.away = false })
	awaitPeers(t, s, "p1 p2")
	if n := f.count("bgppeers?allowWatchBookmarks=true&resourceVersionMatch"); n != 1 {
		t.Errorf("bgppeers were read as a whole %d times", n)
	}
	if f.count("bgppeers?allowWatchBookmarks=true&resourceVersion=") == 0 {
		t.Error("no watch was taken up where it was")
	}

	f.set(func() { f.away = true })
	f.put("bgppeers", peer("p3", 3, ""))
	f.remove("bgppeers", "p1")
	f.set(func() { f.away, f.oldest, f.history = false, f.version, nil })
	awaitPeers(t, s, "p2 p3")
}

// TestOneBadObject: an object that its type cannot hold is a problem of its own.
func TestOneBadObject(t *testing.T) {
	t.Parallel()
	for _, stream := range []bool{true, false} {
		f := newFakeAPI(t)
		f.stream = stream
		f.put("nodes", nodeN1)
		f.put("bgppeers", peer("good", 1, ""))
		f.put("bgppeers", peer("bad", 2, `, "port": "https"`))
		s := f.source("")
		got := s.Snapshot()
		if names(got) != "good" || len(got.Problems) != 1 || got.Problems[0].Error() != "BGPPeer/bad: spec.port: is a string: write a number" {
			t.Errorf("stream %v: in force %s, problems %v", stream, names(got), got.Problems)
		}
		f.put("bgppeers", peer("bad", 2, `, "port": 1179`))
		awaitPeers(t, s, "bad good")
	}
}

// TestSecrets: Secrets are read by name, those of the own peers only, and rotated live.
func TestSecrets(t *testing.T) {
	t.Parallel()
	f := newFakeAPI(t)
	f.put("routerconfigs", alone)
	f.put("nodes", nodeN1)
	f.put("secrets", secret("mine", "old"))
	f.put("bgppeers", peer("mine", 1, `, "password": {"secretRef": {"name": "mine"}}`))
	f.put("bgppeers", peer("others", 2, `, "nodeSelector": {"matchLabels": {"rack": "r2"}}, "password": {"secretRef": {"name": "others"}}`))
	s := f.source("")
	password := func() string {
		got := s.Snapshot()
		for _, p := range got.Peers {
			if p.Name == "mine" {
				password, _ := got.Password(p)
				return string(password)
			}
		}
		return ""
	}
	if got := s.Snapshot(); names(got) != "mine others" || len(got.Problems) > 0 || password() != "old" {
		t.Fatalf("in force: %s, %v, password %q", names(got), got.Problems, password())
	}
	f.put("secrets", secret("mine", "new"))
	eventually(t, "the new password", func() bool { return password() == "new" })
	f.remove("secrets", "mine")
	eventually(t, "a problem", func() bool { return len(s.Snapshot().Problems) == 1 })
	if password() != "new" {
		t.Error("a Secret that is gone took its password along")
	}
	if n := f.count("secrets"); n == 0 || n != f.count("metadata.name%3Dmine") {
		t.Errorf("requests for Secrets: %d, by name of the own one %d", n, f.count("metadata.name%3Dmine"))
	}
	if n := f.count("/nodes?"); n != f.count("metadata.name%3Dn1") {
		t.Error("with mesh None other Nodes were read")
	}
}

// TestScope: what is watched follows the configuration.
func TestScope(t *testing.T) {
	t.Parallel()
	f := newFakeAPI(t)
	f.put("routerconfigs", alone)
	f.put("nodes", nodeN1)
	f.put("nodes", strings.NewReplacer("n1", "n2", "192.0.2.1", "192.0.2.2", "244.1.", "244.2.").Replace(nodeN1))
	f.put("namespaces", `{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "blue", "labels": {"colour": "blue"}}}`)
	s := f.source("")
	if got := s.Snapshot(); len(got.Nodes) != 1 || f.count("namespaces") > 0 {
		t.Fatalf("nodes %v, requests for namespaces %d", got.Nodes, f.count("namespaces"))
	}
	f.put("routerconfigs", strings.Replace(alone, "None", "Full", 1))
	eventually(t, "all Nodes", func() bool { return len(s.Snapshot().Nodes) == 2 })
	f.put("addresspools", `{"apiVersion": "podroute.io/v1alpha1", "kind": "AddressPool", "metadata": {"name": "a"},
		"spec": {"cidr": "10.244.128.0/20", "namespaceSelector": {"matchLabels": {"colour": "blue"}}}}`)
	eventually(t, "Namespaces", func() bool { return s.Snapshot().Namespaces["blue"]["colour"] == "blue" })
	f.put("routerconfigs", alone)
	eventually(t, "the own Node alone", func() bool { return len(s.Snapshot().Nodes) == 1 })
}

// TestQuiet: many events cost few Snapshots, and events that change nothing none.
func TestQuiet(t *testing.T) {
	t.Parallel()
	f := newFakeAPI(t)
	f.put("nodes", nodeN1)
	s := f.source("")
	for len(s.Changed()) > 0 {
		<-s.Changed()
	}
	for range 50 { // heartbeats
		f.put("nodes", strings.Replace(nodeN1, `"status": {`, `"status": {"nodeInfo": {"machineID": "x"}, `, 1))
	}
	f.put("bgppeers", peer("p1", 1, ""))
	awaitPeers(t, s, "p1")
	for i := 2; i <= 200; i++ {
		f.put("bgppeers", peer("p1", i, ""))
	}
	changes := 0
	deadline := time.After(3 * time.Second)
	for s.Snapshot().Peers[0].Spec.Address != "198.51.100.200" {
		select {
		case <-s.Changed():
			changes++
		case <-deadline:
			t.Fatal("the last change is not there")
		}
	}
	if changes > 6 {
		t.Errorf("250 events made %d Snapshots", changes)
	}
}

// TestKept: a start while the API is away goes on with what was in force, which is in a file for its owner
// alone.
func TestKept(t *testing.T) {
	t.Parallel()
	f := newFakeAPI(t)
	f.put("nodes", nodeN1)
	f.put("bgppeers", peer("p1", 1, ""))
	dir, err := os.MkdirTemp("/dev/shm", "podroute-test-") // in memory
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	f.put("secrets", secret("mine", "hush"))
	f.put("bgppeers", peer("p2", 2, `, "password": {"secretRef": {"name": "mine"}}`))
	onDisk := t.TempDir()
	f.source(dir)
	f.source(onDisk)
	info, err := os.Stat(filepath.Join(dir, keptFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the kept file: %v, %v", info.Mode(), err)
	}
	f.set(func() { f.away = true })
	for where, want := range map[string]string{dir: "p1 p2", onDisk: "p1"} {
		ctx, cancel := context.WithCancel(t.Context())
		s, err := New(ctx, Options{Log: slog.New(slog.DiscardHandler), NodeName: "n1", Kubeconfig: f.kubeconfig(), RunDir: where})
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Snapshot(); names(got) != want || len(got.Nodes) != 1 {
			t.Errorf("in force: %q with %d nodes, want %q: %v", names(got), len(got.Nodes), want, got.Problems)
		}
	}
	text, err := os.ReadFile(filepath.Join(onDisk, keptFile))
	if err != nil || strings.Contains(string(text), "aHVzaA") || strings.Contains(string(text), "hush") {
		t.Errorf("a password is on a disk, or %v", err)
	}

	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := New(ctx, Options{Log: slog.New(slog.DiscardHandler), NodeName: "n1", Kubeconfig: f.kubeconfig(), RunDir: t.TempDir()}); err == nil ||
		!strings.Contains(err.Error(), "wait for the Kubernetes API at "+f.server.URL) {
		t.Errorf("with nothing kept: %v", err)
	}
}
