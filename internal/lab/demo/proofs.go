package demo

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/podroute/podroute/internal/lab/demo/probe"
)

// flow is one question from a pod or node to another, over one family.
type flow struct {
	kind     string // pod-pod, node-pod, pod-node, client-pod, pod-client
	is4      bool
	from, to end
	question probe.Dial
	answer   probe.Answer
}

// end of a flow: a node, or a pod of it. addresses are its own.
type end struct {
	node, pod string
	addresses []netip.Addr
}

func (e end) String() string {
	if e.pod != "" {
		return e.pod
	}
	return e.node
}

func (p pod) end() end { return end{p.node, p.name, p.addresses} }

func (f *fleet) nodeEnd(node string) end { return end{node: node, addresses: f.facts[node].addresses} }

// newFlows makes one flow of each family that the server has.
func newFlows(kind string, from, to end) []*flow {
	var out []*flow
	for _, is4 := range families() {
		var id [8]byte
		_, _ = rand.Read(id[:]) // never fails
		nonce := probe.Mark + hex.EncodeToString(id[:])
		out = append(out, &flow{
			kind: kind, is4: is4, from: from, to: to,
			question: probe.Dial{From: from.pod, To: ofFamily(to.addresses, is4), Nonce: nonce},
		})
	}
	return out
}

// flows are all that the cluster must carry without touching an address.
func (f *fleet) flows() []*flow {
	var out []*flow
	for _, a := range f.pods {
		for _, b := range f.pods {
			if a.name != b.name {
				out = append(out, newFlows("pod-pod", a.end(), b.end())...)
			}
		}
		for _, n := range f.role("node") {
			out = append(out, newFlows("node-pod", f.nodeEnd(n), a.end())...)
			out = append(out, newFlows("pod-node", a.end(), f.nodeEnd(n))...)
		}
	}
	return out
}

// ask asks all questions, each node's from its probe, the nodes at once.
func (f *fleet) ask(ctx context.Context, flows []*flow) error {
	byNode := map[string][]*flow{}
	var nodes []string
	for _, x := range flows {
		if byNode[x.from.node] == nil {
			nodes = append(nodes, x.from.node)
		}
		byNode[x.from.node] = append(byNode[x.from.node], x)
	}
	return each(nodes, func(n string) error {
		questions := make([]probe.Dial, len(byNode[n]))
		for i, x := range byNode[n] {
			questions[i] = x.question
		}
		answers, err := f.probes[n].Dials(ctx, questions)
		if err != nil {
			return err
		}
		for i, a := range answers {
			byNode[n][i].answer = a
		}
		return nil
	})
}

// taps are the links between nodes, each heard at its upper end, by node.
func (f *fleet) taps() map[string][]string {
	out := map[string][]string{}
	inside := f.role("node", "tor", "spine")
	for _, l := range f.lab.Topology().Links {
		if slices.Contains(inside, l.A.Node) && slices.Contains(inside, l.B.Node) {
			out[l.A.Node] = append(out[l.A.Node], l.A.Interface)
		}
	}
	return out
}

// listen captures on all links between nodes while do runs.
func (f *fleet) listen(ctx context.Context, do func() error) (seen probe.Capture, err error) {
	taps := f.taps()
	var nodes []string
	for n := range taps {
		nodes = append(nodes, n)
	}
	if err := each(nodes, func(n string) error { return f.probes[n].CaptureStart(ctx, taps[n]) }); err != nil {
		return seen, err
	}
	if err := do(); err != nil {
		return seen, err
	}
	var mu sync.Mutex
	err = each(nodes, func(n string) error {
		c, err := f.probes[n].CaptureStop(ctx)
		mu.Lock()
		defer mu.Unlock()
		seen.Frames += c.Frames
		seen.Sightings = append(seen.Sightings, c.Sightings...)
		return err
	})
	return seen, err
}

// proveCluster asks every flow inside the cluster while listening on the wire.
func (f *fleet) proveCluster(ctx context.Context, r *Report) (string, error) {
	flows := f.flows()
	seen, err := f.listen(ctx, func() error { return f.ask(ctx, flows) })
	if err != nil {
		return "", err
	}
	judgeFlows(r, flows)
	judgeWire(r, flows, seen)
	return fmt.Sprintf("%d flows among pods and nodes, %d NATed; on the wire %d packets, %d encapsulated",
		len(flows), r.Natted, seen.Frames, r.Encapsulated), nil
}

// judgeFlows counts answers: all must have come, and every server must have seen the client's own
// address.
func judgeFlows(r *Report, flows []*flow) {
	type count struct{ all, reached, natted, foreign int }
	counts := map[string]*count{}
	pairs := map[string]int{} // families that reached, by pair of pods
	for _, x := range flows {
		c := counts[x.kind]
		if c == nil {
			c = &count{}
			counts[x.kind] = c
		}
		c.all++
		if x.kind == "pod-pod" {
			pairs[x.from.String()+" "+x.to.String()] += 0
		}
		if x.answer.Error != "" {
			r.fail("%v to %v over %s: %s", x.from, x.to, familyName(x.is4), x.answer.Error)
			continue
		}
		c.reached++
		if x.kind == "pod-pod" {
			pairs[x.from.String()+" "+x.to.String()]++
		}
		switch {
		case x.answer.Seen != x.answer.Local:
			c.natted++
			r.fail("%v to %v over %s: the server saw %v, the client is %v", x.from, x.to, familyName(x.is4), x.answer.Seen, x.answer.Local)
		case !x.ownAddress(x.answer.Seen):
			c.foreign++
			r.fail("%v to %v over %s: the client used %v, not its own %v", x.from, x.to, familyName(x.is4), x.answer.Seen, x.from.addresses)
		}
	}
	r.Pairs = len(pairs)
	for _, n := range pairs {
		if n == len(families()) {
			r.Reached++
		}
	}
	for _, k := range []struct{ kind, text string }{
		{"pod-pod", "pod → pod, every pair, IPv4 and IPv6"},
		{"node-pod", "node → pod, every pair, IPv4 and IPv6"},
		{"pod-node", "pod → node, every pair, IPv4 and IPv6"},
	} {
		c := counts[k.kind]
		r.Natted += c.natted
		r.prove(c.reached == c.all && c.natted+c.foreign == 0, k.text, "%d of %d answered, %d NATed", c.reached, c.all, c.natted)
	}
}

// ownAddress: a pod has one address a family. A node has several, and is free to choose towards its
// own pods; towards other nodes' pods it must be the node's address.
func (x *flow) ownAddress(a netip.Addr) bool {
	if x.from.pod == "" && x.from.node == x.to.node {
		return true
	}
	return slices.Contains(x.from.addresses, a)
}

// judgeWire looks at what was captured: every flow between nodes must have been seen, in packets
// whose outermost IP header is its own.
func judgeWire(r *Report, flows []*flow, seen probe.Capture) {
	byNonce := map[string]*flow{}
	between := 0
	for _, x := range flows {
		byNonce[x.question.Nonce] = x
		if x.from.node != x.to.node {
			between++
		}
	}
	plain, flowsSeen := 0, map[string]bool{}
	for _, s := range seen.Sightings {
		x := byNonce[s.Nonce]
		if x == nil {
			continue
		}
		client, server := x.answer.Local, x.question.To
		own := s.Source == client && s.Dest == server || s.Source == server && s.Dest == client
		if s.Protocol != protocolTCP || !own {
			r.Encapsulated += s.Frames
			r.fail("%v to %v: on the wire a packet of protocol %d from %v to %v", x.from, x.to, s.Protocol, s.Source, s.Dest)
			continue
		}
		plain += s.Frames
		flowsSeen[s.Nonce] = true
	}
	for nonce, x := range byNonce {
		if x.from.node != x.to.node && x.answer.Error == "" && !flowsSeen[nonce] {
			r.fail("%v to %v over %s: not seen on any link", x.from, x.to, familyName(x.is4))
		}
	}
	r.prove(r.Encapsulated == 0 && plain > 0 && len(flowsSeen) == between, "between nodes, on the wire: own addresses outermost",
		"%d of %d flows seen in %d packets, %d encapsulated", len(flowsSeen), between, plain, r.Encapsulated)
}

const protocolTCP = 6

// proveOutside asks from the outside client into pods, and from pods out to it.
func (f *fleet) proveOutside(ctx context.Context, r *Report) (string, error) {
	client, err := f.clientEnd(ctx)
	if err != nil {
		return "", err
	}
	var in, out []*flow
	for _, p := range f.pods {
		in = append(in, newFlows("client-pod", client, p.end())...)
		out = append(out, newFlows("pod-client", p.end(), client)...)
	}
	if err := f.ask(ctx, slices.Concat(in, out)); err != nil {
		return "", err
	}
	reached := count(r, in, func(x *flow) netip.Addr { return ofFamily(client.addresses, x.is4) })
	r.prove(reached == len(in), "outside client → pod, which sees the client's address", "%d of %d answered", reached, len(in))
	left := count(r, out, func(x *flow) netip.Addr { return ofFamily(f.facts[x.from.node].addresses, x.is4) })
	r.prove(left == len(out), "pod → outside, which sees the node's address", "%d of %d answered", left, len(out))
	return fmt.Sprintf("%d flows from the outside client to pods, %d back", len(in), len(out)), nil
}

// count counts the flows that were answered and whose server saw the address that it should.
func count(r *Report, flows []*flow, want func(*flow) netip.Addr) int {
	n := 0
	for _, x := range flows {
		switch {
		case x.answer.Error != "":
			r.fail("%v to %v over %s: %s", x.from, x.to, familyName(x.is4), x.answer.Error)
		case x.answer.Seen != want(x):
			r.fail("%v to %v over %s: the server saw %v, not %v", x.from, x.to, familyName(x.is4), x.answer.Seen, want(x))
		default:
			n++
		}
	}
	return n
}

// clientEnd is the outside client, whose addresses only its own kernel knows.
func (f *fleet) clientEnd(ctx context.Context) (end, error) {
	names := f.role("client")
	if len(names) != 1 {
		return end{}, fmt.Errorf("the topology has %d nodes labelled role=client, not one", len(names))
	}
	st, err := f.lab.Status(ctx, names[0])
	if err != nil {
		return end{}, err
	}
	e := end{node: names[0]}
	for _, s := range st.Addresses {
		if p, err := netip.ParsePrefix(s); err == nil {
			e.addresses = append(e.addresses, p.Addr())
		}
	}
	return e, nil
}
