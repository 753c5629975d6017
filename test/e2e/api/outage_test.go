package api

import (
	"os"
	"testing"
	"time"

	"github.com/podroute/podroute/config/kube"
	"github.com/podroute/podroute/test/e2e/api/apiserver"
)

const (
	outage = 30 * time.Second
	// Agents come back to the API at random within the longest back-off.
	backWithin = 45 * time.Second
)

// TestOutage stops the API server for half a minute. Meanwhile nothing changes for an agent that runs, nor for one
// that starts; afterwards both see what has changed, and read everything again at most once.
func TestOutage(t *testing.T) {
	run, err := os.MkdirTemp("/dev/shm", "podroute-test-") // in memory, so that passwords are kept
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(run) })
	s := apiserver.Start(t)
	allowSecrets(s)
	s.Kubectl("apply", "--server-side", "-f", "testdata/folder")
	for node, address := range map[string]string{"n1": "192.0.2.1", "n2": "192.0.2.2"} {
		s.Kubectl("patch", "node", node, "--subresource=status", "-p", `{"status":{"addresses":[{"type":"InternalIP","address":"`+address+`"}]}}`)
	}
	stays, _ := open(t, s, "n2", "")
	_, stop := open(t, s, "n1", run)
	stop()
	before := stays.Snapshot()

	s.Down()
	down := time.Now()
	restarted, _ := open(t, s, "n1", run)
	took := time.Since(down)
	if took > 10*time.Second {
		t.Errorf("a start while the API is away took %v", took)
	}
	if got := restarted.Snapshot(); len(got.Peers) != 2 || len(got.Blocks) != 2 || len(got.Nodes) != 2 || len(got.Problems) > 0 {
		t.Errorf("in force after a start while the API is away: %d peers, %d blocks, %d nodes, %v", len(got.Peers), len(got.Blocks), len(got.Nodes), got.Problems)
	} else if password, err := got.Password(got.Peers[1]); err != nil || string(password) != "hush" {
		t.Errorf("the password of %s: %v, known: %v", got.Peers[1].Name, err, password != "")
	}
	time.Sleep(outage - time.Since(down)) // the outage itself
	for _, p := range stays.Snapshot().Problems {
		if p.Source != "Kubernetes API" {
			t.Errorf("a problem of the outage: %v", p)
		}
	}
	if got := stays.Snapshot(); len(got.Peers) != len(before.Peers) || len(got.Nodes) != len(before.Nodes) || len(got.Blocks) != len(before.Blocks) {
		t.Error("the outage changed the configuration")
	}
	asked := len(s.Requests("n2"))

	s.Up()
	up := time.Now()
	s.Kubectl("patch", "bgppeer", "tor1", "--type=merge", "-p", `{"spec":{"asNumber":65009}}`)
	for name, source := range map[string]*kube.Source{"the agent that ran": stays, "the agent that started": restarted} {
		s.Eventually(name+" sees what changes", backWithin, func() bool {
			got := source.Snapshot()
			return len(got.Peers) == 2 && got.Peers[1].Spec.ASNumber == "65009" && len(got.Problems) == 0
		})
	}
	t.Logf("start while the API is away: %v; changes seen %v after the API was back", took.Round(time.Millisecond), time.Since(up).Round(time.Millisecond))

	lists := map[string]int{}
	requests := s.Requests("n2")[asked:]
	for _, r := range requests {
		if r.Verb == "list" {
			lists[r.ObjectRef.Resource]++
		}
	}
	t.Logf("requests of the agent that ran since then: %d, lists %v", len(requests), lists)
	for resource, n := range lists {
		if n > 1 {
			t.Errorf("%s were read as a whole %d times", resource, n)
		}
	}
	if len(requests) > 60 {
		t.Errorf("%d requests after the outage", len(requests))
	}
}
