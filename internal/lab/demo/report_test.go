package demo

import (
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/podroute/podroute/internal/lab/demo/probe"
)

var update = flag.Bool("update", false, "rewrite goldens")

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got, -update rewrites it):\n%s", file, diff)
	}
}

func sample() *Report {
	r := &Report{
		Router: "bird", Nodes: 4, Pods: 12, Pairs: 132, Reached: 131, Natted: 1, Took: 31.25,
		Events: []Event{
			{Name: "agent killed", Sent: 1200, Lost: 1, LongestGap: 20.4, limit: "at most 1 lost", ok: true},
			{Name: "uplink cut", Sent: 900, limit: "gap under 100 ms", ok: true},
		},
	}
	r.prove(true, "node → pod", "%d of %d", 96, 96)
	r.prove(false, "pod → pod", "%d of %d", 263, 264)
	return r
}

func TestReport(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	r := sample()
	r.Write(&b, false)
	b.WriteString(r.Verdict() + "\n")
	r.Pass = true
	b.WriteString(r.Verdict() + "\n")
	golden(t, "testdata/report.golden", b.String())

	var colours strings.Builder
	r.Write(&colours, true)
	plain := strings.NewReplacer("\x1b[1m", "", "\x1b[2m", "", "\x1b[31m", "", "\x1b[32m", "", "\x1b[0m", "").Replace(colours.String())
	if plain == colours.String() || !strings.HasPrefix(b.String(), plain) {
		t.Errorf("in colour:\n%s", colours.String())
	}
}

// The keys are a contract with whoever reads them.
func TestReportJSON(t *testing.T) {
	t.Parallel()
	text, err := json.MarshalIndent(sample(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/report.json", string(text)+"\n")
}

// flowOf is an answered flow between two nodes.
func flowOf(kind, from, to, seen string) *flow {
	a, b := netip.MustParseAddr(from), netip.MustParseAddr(to)
	x := &flow{
		kind: kind, is4: a.Is4(),
		from: end{"n1", "n1-a", []netip.Addr{a}}, to: end{"n2", "n2-a", []netip.Addr{b}},
		question: probe.Dial{To: b, Nonce: from + to},
		answer:   probe.Answer{Local: a, Seen: netip.MustParseAddr(seen)},
	}
	return x
}

func TestJudgeFlows(t *testing.T) {
	t.Parallel()
	good := func() []*flow {
		return []*flow{
			flowOf("pod-pod", "10.0.0.1", "10.0.0.2", "10.0.0.1"), flowOf("pod-pod", "fd00::1", "fd00::2", "fd00::1"),
			flowOf("node-pod", "10.0.0.1", "10.0.0.2", "10.0.0.1"), flowOf("pod-node", "10.0.0.1", "10.0.0.2", "10.0.0.1"),
		}
	}
	for name, c := range map[string]struct {
		harm                    func([]*flow)
		reached, natted, failed int
	}{
		"all well":       {func([]*flow) {}, 1, 0, 0},
		"NAT":            {func(f []*flow) { f[0].answer.Seen = netip.MustParseAddr("10.0.0.9") }, 1, 1, 2},
		"NAT of a node":  {func(f []*flow) { f[2].answer.Seen = netip.MustParseAddr("10.0.0.9") }, 1, 1, 2},
		"no answer":      {func(f []*flow) { f[1].answer = probe.Answer{Error: "timeout"} }, 0, 0, 2},
		"wrong address":  {func(f []*flow) { f[0].from.addresses = nil }, 1, 0, 2},
		"node unreached": {func(f []*flow) { f[3].answer = probe.Answer{Error: "refused"} }, 1, 0, 2},
	} {
		flows := good()
		c.harm(flows)
		r := &Report{}
		judgeFlows(r, flows)
		if r.Pairs != 1 || r.Reached != c.reached || r.Natted != c.natted || len(r.Failures) != c.failed {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func saw(nonce string, from, to netip.Addr, protocol, frames int) probe.Sighting {
	return probe.Sighting{Nonce: nonce, Source: from, Dest: to, Protocol: protocol, Frames: frames}
}

func TestJudgeWire(t *testing.T) {
	t.Parallel()
	x := flowOf("pod-pod", "10.0.0.1", "10.0.0.2", "10.0.0.1")
	a, b, other := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.9")
	n := x.question.Nonce
	for name, c := range map[string]struct {
		seen         []probe.Sighting
		encapsulated int
		fails        bool
	}{
		"both ways":      {[]probe.Sighting{saw(n, a, b, 6, 2), saw(n, b, a, 6, 2)}, 0, false},
		"nothing":        {nil, 0, true},
		"other flows":    {[]probe.Sighting{saw("x", a, b, 6, 2)}, 0, true},
		"tunnel":         {[]probe.Sighting{saw(n, a, b, 6, 2), saw(n, other, b, 17, 3)}, 3, true},
		"same addresses": {[]probe.Sighting{saw(n, a, b, 17, 1)}, 1, true},
		"translated":     {[]probe.Sighting{saw(n, other, b, 6, 1)}, 1, true},
		"not IP":         {[]probe.Sighting{{Nonce: n, Frames: 1}}, 1, true},
	} {
		r := &Report{}
		judgeWire(r, []*flow{x}, probe.Capture{Sightings: c.seen})
		if r.Encapsulated != c.encapsulated || (len(r.Failures) > 0) != c.fails {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestPercentile(t *testing.T) {
	t.Parallel()
	var cuts []Cut
	for i := 20; i > 0; i-- {
		cuts = append(cuts, Cut{LongestGap: float64(i)})
	}
	for n, want := range map[int]float64{20: 19, 10: 20, 1: 20, 0: 0} {
		if got := percentile(cuts[:n], 95); got != want {
			t.Errorf("of %d: %v, want %v", n, got, want)
		}
	}
}
