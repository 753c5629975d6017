package main

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/agent/agentpb"
)

// TestDrainReport reads what people are shown of a drain.
func TestDrainReport(t *testing.T) {
	t.Parallel()
	r := &agentpb.DrainReport{
		Node: "n1", Since: time.Now().Add(-time.Minute).Format(time.RFC3339), Because: []string{"podroute drain", "the node is cordoned"},
		Stage: stageTimedOut, Withdrawn: []string{"203.0.113.7/32"}, Sessions: 2, SessionsTold: 1, Pods: 3, Blocks: []string{"10.244.1.0/24"},
		Problem: "no netlink",
	}
	for i := range uint32(30) {
		r.Seconds = append(r.Seconds, &agentpb.DrainSecond{Second: i + 1, Services: 1000 + i, Forwarded: 2000, Received: 3000})
	}
	var out bytes.Buffer
	p := newPrinter(&out, "table")
	if err := p.message(r, func(w io.Writer) { printDrain(w, p, r) }); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"traffic still comes (for 1m", "because of podroute drain, the node is cordoned", "203.0.113.7/32", "1 of 2", "3 pods; advertised for them: 10.244.1.0/24",
		"traffic is not counted: no netlink", "30       1029          2000        3000\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, &out)
		}
	}
	if strings.Contains(out.String(), "\n10  ") {
		t.Errorf("more than the last %d seconds:\n%s", secondsShown, &out)
	}
}

// TestTicker: one line, on a terminal only, which is gone in the end.
func TestTicker(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	off := newTicker(&out)
	off.show("something")
	off.end()
	if out.Len() > 0 {
		t.Errorf("%q where there is no terminal", &out)
	}
	on := &ticker{out: &out, on: true}
	on.show("a long line")
	on.show("short")
	on.end()
	if got, want := out.String(), "\ra long line\rshort      \r     \r"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	asking := &agentpb.DrainReport{Stage: stageAsking, Sessions: 2, SessionsTold: 1, Withdrawn: []string{"a"}}
	if got := progress(asking); got != "1 service addresses to be withdrawn, 1 of 2 sessions asked for other ways" {
		t.Errorf("%q", got)
	}
	waiting := &agentpb.DrainReport{
		Stage: stageWithdrawn, Sessions: 2, SessionsTold: 2, Withdrawn: []string{"a", "b"},
		Seconds: []*agentpb.DrainSecond{{Second: 4, Services: 7, Forwarded: 9}},
	}
	if got, want := progress(waiting), "2 service addresses withdrawn, 2 of 2 sessions told; 4 s: 7 packets/s to them, 9 forwarded"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
