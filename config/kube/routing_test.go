package kube

import (
	"fmt"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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

// TestConditions: Draining is there while the node is drained, beside Ready, also while that is undecided.
func TestConditions(t *testing.T) {
	t.Parallel()
	now := time.Unix(2000, 0)
	r := config.NodeReport{Ready: true, Reason: "Ready"}
	first := conditions(nil, r, now)
	if len(first) != 1 || first[0].Type != config.ConditionReady {
		t.Fatalf("not drained: %+v", first)
	}
	r.Draining = &config.Draining{Since: time.Unix(1000, 0), Reason: "Faded", Message: "no traffic"}
	r.Undecided, r.Ready = true, false
	both := conditions(first, r, now.Add(time.Hour))
	if len(both) != 2 || both[0] != first[0] {
		t.Fatalf("drained: %+v", both)
	}
	if d := both[1]; d.Type != config.ConditionDraining || d.Status != metav1.ConditionTrue || d.Reason != "Faded" || !d.LastTransitionTime.Time.Equal(time.Unix(1000, 0)) {
		t.Errorf("drained: %+v", d)
	}
	r.Sessions = &config.Sessions{Reason: "NotEstablished", Message: "tor"}
	three := conditions(both, r, now)
	if len(three) != 3 || three[1].Type != config.ConditionSessions || three[1].Status != metav1.ConditionFalse || three[1].Message != "tor" {
		t.Errorf("with sessions: %+v", three)
	}
	r.Sessions.Healthy = true
	if s := conditions(three, r, now.Add(time.Minute))[1]; s.Status != metav1.ConditionTrue || !s.LastTransitionTime.Time.Equal(now.Add(time.Minute)) {
		t.Errorf("healthy: %+v", s)
	}
	before := conditions(three, r, now.Add(time.Minute))
	r.Sessions = &config.Sessions{Undecided: true, Reason: "Settling", Message: "wait"}
	if s := conditions(before, r, now.Add(time.Hour))[1]; s != before[1] {
		t.Errorf("undecided: %+v, was %+v", s, before[1])
	}
	if s := conditions(nil, r, now)[1]; s.Status != metav1.ConditionUnknown || s.Reason != "Settling" {
		t.Errorf("undecided, and nothing was said before: %+v", s)
	}
	r.Draining, r.Sessions = nil, nil
	if after := conditions(both, r, now); len(after) != 1 {
		t.Errorf("after the drain: %+v", after)
	}
}
