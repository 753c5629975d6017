package kube

import (
	"fmt"
	"slices"
	"testing"

	"github.com/podroute/podroute/config"
)

// TestListed: a NodeRouting names all sessions, or a bounded number with those first that are in trouble.
func TestListed(t *testing.T) {
	t.Parallel()
	var all []config.SessionStatus
	for i := range 3 * sessionsMost {
		s := config.SessionStatus{Peer: fmt.Sprintf("n%03d", i), State: config.SessionEstablished}
		if i%10 == 7 {
			s.State = "Active"
		}
		all = append(all, s)
	}
	few := all[:sessionsMost]
	if got := listed(few); !slices.EqualFunc(got, few, samePeer) {
		t.Errorf("%d sessions are reordered", len(few))
	}
	got := listed(all)
	if len(got) != sessionsMost {
		t.Fatalf("%d sessions of %d, want %d", len(got), len(all), sessionsMost)
	}
	for i, want := range []string{0: "n007", 29: "n297", 30: "n000", 31: "n001", 99: "n076"} {
		if want != "" && got[i].Peer != want {
			t.Errorf("session %d is %s, want %s", i, got[i].Peer, want)
		}
	}
	if all[0].Peer != "n000" {
		t.Error("the report itself has changed")
	}
}

func samePeer(a, b config.SessionStatus) bool { return a.Peer == b.Peer }
