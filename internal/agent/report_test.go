package agent

import (
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podroute/podroute/config"
)

// TestPace plays an hour of a node's life, a look a second, and counts the reports.
func TestPace(t *testing.T) {
	t.Parallel()
	const hour = 3600
	start := time.Unix(1_000_000, 0)
	for _, c := range []struct {
		name        string
		at          func(second int) config.NodeReport
		least, most int
	}{
		{"calm", func(int) config.NodeReport { return sample() }, 1, 1},
		{"a peer that never answers", func(i int) config.NodeReport {
			r := sample()
			s := &r.Routing.Sessions[0]
			s.State = []string{"Idle", "Connect", "Active"}[i%3]
			s.Since = &metav1.Time{Time: start.Add(time.Duration(i) * time.Second)}
			return r
		}, 1, 1},
		{"its errors vary", func(i int) config.NodeReport {
			r := sample()
			r.Routing.Sessions[0].State = "Active"
			r.Routing.Sessions[0].LastError = fmt.Sprint(i % 7)
			return r
		}, 5, 13},
		{"pods come and go", func(i int) config.NodeReport {
			r := sample()
			r.Routing.Pods = int32(i)
			r.Routing.Blocks[0].Used = int64(i)
			r.Routing.Sessions[0].Families[0].Received = int32(i)
			return r
		}, 11, 13},
		{"a session flaps without end", func(i int) config.NodeReport {
			r := sample()
			if i%10 < 5 {
				r.Routing.Sessions[0].State = "Active"
			}
			return r
		}, 30, 75},
		{"a session is lost once", func(i int) config.NodeReport {
			r := sample()
			if i > 100 {
				r.Routing.Sessions[0].State = "Active"
			}
			return r
		}, 2, 2},
		{"a session is not up, for varying reasons", func(i int) config.NodeReport {
			r := sample()
			r.Sessions = &config.Sessions{Healthy: i < 100, Reason: fmt.Sprint(i < 100), Message: fmt.Sprint(i % 7)}
			return r
		}, 6, 14},
		{"one more session is not up", func(i int) config.NodeReport {
			r := sample()
			r.Sessions = &config.Sessions{Reason: "NotEstablished", Concerned: []string{"a", "b"}[:1+i/1800]}
			return r
		}, 2, 2},
		{"readiness is lost and comes back", func(i int) config.NodeReport {
			r := sample()
			r.Ready = i < 100 || i > 101
			return r
		}, 3, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var p pace
			n := 0
			var last config.NodeReport
			for i := range hour {
				r := c.at(i)
				if p.due(start.Add(time.Duration(i)*time.Second), r) {
					n, last = n+1, r
				}
				if r.Ready != last.Ready {
					t.Fatalf("readiness of second %d was not reported", i)
				}
			}
			if n < c.least || n > c.most {
				t.Errorf("%d reports in an hour, want %d to %d", n, c.least, c.most)
			}
		})
	}
}

// TestPaceSpreads: a thousand agents that lose one neighbour say of their sessions' health at different times, each once, and at
// once where they have something else to say; what was but for a moment is not written.
func TestPaceSpreads(t *testing.T) {
	t.Parallel()
	const agents, lost = 1000, 100
	start := time.Unix(1_000_000, 0)
	at := func(i int) time.Time { return start.Add(time.Duration(i) * time.Second) }
	per := map[int]int{}
	for range agents {
		p := newPace()
		n := 0
		for i := range 200 {
			r := sample()
			r.Sessions = &config.Sessions{Healthy: i < lost, Reason: fmt.Sprint(i < lost)}
			if p.due(at(i), r) && i > 0 {
				n++
				per[i]++
			}
		}
		if n != 1 {
			t.Fatalf("%d reports of one change", n)
		}
	}
	for i, n := range per {
		if n > 200 || i > lost+int(healthSpread/time.Second) {
			t.Errorf("%d agents report %d s after the loss", n, i-lost)
		}
	}

	p := pace{delay: healthSpread}
	for i := range 40 {
		r := sample()
		r.Sessions = &config.Sessions{Healthy: i < 10 || i >= 15 && i < 20}
		if i >= 25 {
			r.Routing.Sessions[0].State = "Active"
		}
		if due, want := p.due(at(i), r), i == 0 || i == 25; due != want {
			t.Errorf("second %d: due %t, want %t", i, due, want)
		}
	}
}

// TestEssenceLeavesTheReportAlone: what is compared is a copy.
func TestEssenceLeavesTheReportAlone(t *testing.T) {
	t.Parallel()
	r := sample()
	_ = essence(r)
	if r.Routing.Blocks[0].Used != 3 || r.Routing.Sessions[0].Families[0].Received != 7 {
		t.Errorf("the report was changed: %+v", r)
	}
}

func sample() config.NodeReport {
	return config.NodeReport{Ready: true, Reason: reasonReady, Routing: config.NodeRoutingStatus{
		Blocks: []config.BlockStatus{{CIDR: "10.0.0.0/24", Used: 3, Size: 254}},
		Sessions: []config.SessionStatus{{
			Peer: "tor", Address: "192.0.2.1", State: config.SessionEstablished, Families: []config.SessionFamily{{Family: "IPv4", Received: 7}},
		}},
	}}
}
