package scenarios

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/podroute/podroute/test/e2e/cluster"
)

// ends are the sessions of the whole fabric, by "MACHINE NEIGHBOUR": whether each is up, since when or for the how
// manieth time. Those of nodes are told by their agents, those of switches by FRR.
type ends map[string]string

// down is an end of no established session.
const down = "down"

func (t *T) ends(ctx context.Context) (ends, error) {
	all := ends{}
	for _, n := range cluster.Nodes() {
		have, err := t.sessions(ctx, n.Name)
		if err != nil {
			return nil, err
		}
		for _, s := range have {
			all[n.Name+" "+s.Name] = down
			if s.State == "Established" {
				all[n.Name+" "+s.Name] = fmt.Sprintf("up since %s, %d flaps", s.Since, s.Flaps)
			}
		}
	}
	for _, machine := range switches() {
		have, err := t.neighbours(ctx, machine)
		if err != nil {
			return nil, err
		}
		for address, s := range have {
			all[machine+" "+address] = down
			if s.State == "Established" {
				all[machine+" "+address] = fmt.Sprintf("up for the %d. time", s.ConnectionsEstablished)
			}
		}
	}
	return all, nil
}

func switches() []string {
	return []string{cluster.TopOfRack("1"), cluster.TopOfRack("2"), cluster.MachineSpine}
}

// neighbour is a session as FRR tells of it.
type neighbour struct {
	State                          string
	ConnectionsEstablished, PfxRcd int
}

// neighbours are those of a switch, by address. Prefixes are counted of IPv4.
func (t *T) neighbours(ctx context.Context, machine string) (map[string]neighbour, error) {
	text, err := t.On(ctx, machine, "vtysh", "-c", "show bgp ipv4 unicast summary json")
	if err != nil {
		return nil, err
	}
	var out struct{ Peers map[string]neighbour }
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		return nil, fmt.Errorf("%s: %w", machine, err)
	}
	return out.Peers, nil
}

// moves compares sessions with what they were.
type moves struct {
	t    *T
	last ends
}

func (t *T) watchSessions(ctx context.Context) (*moves, error) {
	now, err := t.ends(ctx)
	return &moves{t, now}, err
}

// since are the sessions that are not what they were at the last look, or are gone.
func (m *moves) since(ctx context.Context) ([]string, error) {
	now, err := m.t.ends(ctx)
	if err != nil {
		return nil, err
	}
	both := maps.Clone(now)
	maps.Copy(both, m.last)
	var moved []string
	for _, end := range slices.Sorted(maps.Keys(both)) {
		if now[end] != m.last[end] {
			moved = append(moved, end)
		}
	}
	m.last = now
	return moved, nil
}

// none is an error if a session has moved since the last look.
func (m *moves) none(ctx context.Context) error { return m.only(ctx, nil) }

// only is an error if other sessions than the given ones have moved since the last look.
func (m *moves) only(ctx context.Context, want []string) error {
	moved, err := m.since(ctx)
	if err == nil && !slices.Equal(moved, want) {
		err = fmt.Errorf("sessions that moved: %q, not %q: %v", moved, want, m.last)
	}
	return err
}

// extra is the name of the BGPPeer that comes and goes: the spine, a hop beyond the top-of-rack.
const extra = "e2e-spine"

// spineLink is the spine's end of its link with rack 1.
const spineLink = "10.0.11.0"

// spinePeer is extra's manifest, with more fields.
func spinePeer(more map[string]any) string {
	spec := map[string]any{
		"nodeSelector": map[string]any{"matchLabels": map[string]string{"podroute.io/rack": "1"}},
		"address":      spineLink, "asNumber": 65000, "multihopTTL": 2,
	}
	maps.Copy(spec, more)
	return object("BGPPeer", extra, spec)
}

// withSpine has the spine admit the nodes of rack 1 as neighbours, while do runs.
func (t *T) withSpine(ctx context.Context, do func() error) (err error) {
	lines, back := []string{"configure terminal", "router bgp 65000"}, []string{"configure terminal", "router bgp 65000"}
	for _, n := range cluster.Nodes()[:2] {
		peer := "neighbor " + n.IPv4
		lines = append(lines, peer+" remote-as "+n.AS, peer+" ebgp-multihop 2", peer+" timers 3 9", peer+" timers connect 1")
		for _, family := range []string{"ipv4", "ipv6"} {
			lines = append(lines, "address-family "+family+" unicast", peer+" activate", peer+" route-map PODS-IN in", "exit-address-family")
		}
		back = append(back, "no "+peer)
	}
	defer func() {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		_, gone := t.Kubectl(clean, "delete", "bgppeer", extra, "--ignore-not-found")
		err = errors.Join(err, gone, t.vtysh(clean, cluster.MachineSpine, back))
	}()
	if err := t.vtysh(ctx, cluster.MachineSpine, lines); err != nil {
		return err
	}
	return do()
}

func (t *T) vtysh(ctx context.Context, machine string, lines []string) error {
	argv := []string{"vtysh"}
	for _, line := range lines {
		argv = append(argv, "-c", line)
	}
	_, err := t.On(ctx, machine, argv...)
	return err
}

// peerChanged gives the nodes of rack 1 a second session, changes it, and takes it away.
func peerChanged(ctx context.Context, t *T) error {
	return t.underTraffic(ctx, func(ctx context.Context, _ bed) error {
		return t.withSpine(ctx, func() error {
			routes, err := t.inForce(ctx)
			if err != nil {
				return err
			}
			m, err := t.watchSessions(ctx)
			if err != nil {
				return err
			}
			for _, s := range peerSteps() {
				if err := t.peerStep(ctx, m, s); err != nil {
					return fmt.Errorf("%s: %w", s.what, err)
				}
				// The way to the spine's next hop is not the node's own to know: the top-of-rack's stay in use.
				if err := t.still(ctx, routes); err != nil {
					return fmt.Errorf("%s: %w", s.what, err)
				}
			}
			return nil
		})
	})
}

// peerStep is a change of the extra peer, by a manifest; none: it is deleted. Sessions of the nodes in up are then
// established, those of the nodes in moved are others than before, at both ends.
type peerStep struct {
	what      string
	manifest  string
	up, moved []string
	received  int // prefixes that the spine has then of n1, IPv4
}

func peerSteps() []peerStep {
	quick := map[string]any{"hold": "30s"}
	none := map[string]any{"reject": []any{map[string]any{"cidr": "10.244.0.0/16", "le": 32}}}
	first := map[string]any{"matchLabels": map[string]string{corev1.LabelHostname: "n1"}}
	return []peerStep{
		{"added", spinePeer(nil), []string{"n1", "n2"}, []string{"n1", "n2"}, 1},
		{"an export filter", spinePeer(map[string]any{"export": none}), []string{"n1", "n2"}, nil, 0},
		{"without the filter", spinePeer(nil), []string{"n1", "n2"}, nil, 1},
		{"a bound of prefixes", spinePeer(map[string]any{"maxPrefixes": 50}), []string{"n1", "n2"}, nil, 1},
		{"another hold time", spinePeer(map[string]any{"timers": quick}), []string{"n1", "n2"}, []string{"n1", "n2"}, 1},
		{"for one node only", spinePeer(map[string]any{"timers": quick, "nodeSelector": first}), []string{"n1"}, []string{"n2"}, 1},
		{"removed", "", nil, []string{"n1"}, 0},
	}
}

func (t *T) peerStep(ctx context.Context, m *moves, s peerStep) error {
	began := time.Now()
	if s.manifest == "" {
		if _, err := t.Kubectl(ctx, "delete", "bgppeer", extra); err != nil {
			return err
		}
	} else if err := t.Apply(ctx, s.manifest); err != nil {
		return err
	} else if _, err := t.judged(ctx, "bgppeer", extra, true, "in force"); err != nil {
		return err
	}
	if err := cluster.Eventually(ctx, 20*time.Second, func(ctx context.Context) error { return t.peerStepDone(ctx, m, s) }); err != nil {
		return err
	}
	var want []string
	for _, node := range s.moved {
		want = append(want, node+" "+extra, cluster.MachineSpine+" "+nodeNamed(node).IPv4)
	}
	slices.Sort(want)
	took := time.Since(began)
	err := m.only(ctx, want)
	t.Note("%s: %.1f s; ends of sessions that moved: %v, of %d", s.what, took.Seconds(), want, len(m.last))
	return err
}

// peerStepDone is nil once the sessions are as they are to be, and those that are to move have.
func (t *T) peerStepDone(ctx context.Context, m *moves, s peerStep) error {
	now, err := t.ends(ctx)
	if err != nil {
		return err
	}
	for _, node := range []string{"n1", "n2"} {
		for _, end := range []string{node + " " + extra, cluster.MachineSpine + " " + nodeNamed(node).IPv4} {
			up := strings.HasPrefix(now[end], "up")
			if want := slices.Contains(s.up, node); up != want {
				return fmt.Errorf("session %s: %q; established is to be %v", end, now[end], want)
			}
			if slices.Contains(s.moved, node) && now[end] == m.last[end] {
				return fmt.Errorf("session %s has not moved: %s", end, now[end])
			}
		}
	}
	spine, err := t.neighbours(ctx, cluster.MachineSpine)
	if got := spine[nodeNamed("n1").IPv4].PfxRcd; err == nil && got != s.received {
		err = fmt.Errorf("the spine has %d prefixes of n1, not %d", got, s.received)
	}
	return err
}

// invalidPeer writes peers that are wrong, each in a way of its own.
func invalidPeer(ctx context.Context, t *T) error {
	return t.underTraffic(ctx, func(ctx context.Context, _ bed) error {
		m, err := t.watchSessions(ctx)
		if err != nil {
			return err
		}
		if err := t.wrongAtOnce(ctx); err != nil {
			return err
		}
		if err := t.wrongLater(ctx); err != nil {
			return err
		}
		if err := t.wrongEdit(ctx); err != nil {
			return err
		}
		if err := t.pause(ctx, 2*time.Second); err != nil { // what is set off late shows, too
			return err
		}
		return m.none(ctx)
	})
}

// wrongAtOnce are peers that the API server does not take.
func (t *T) wrongAtOnce(ctx context.Context) error {
	for _, c := range []struct {
		more  map[string]any
		words string
	}{
		{map[string]any{"gateway": "IPv4"}, "exactly one of address, gateway, interface and prefix must be set"},
		{map[string]any{"ttlSecurity": 2}, "ttlSecurity excludes multihopTTL"},
		{map[string]any{"asNumber": 23456}, "must be 1 to 4294967294 and not reserved"},
		{map[string]any{"timers": map[string]any{"hold": "2s"}}, "must be whole seconds, 3s to 65535s"},
		{map[string]any{"address": "10.0.1.300"}, "must be an IP address"},
		{map[string]any{"export": map[string]any{"reject": []any{map[string]any{"cidr": "10.244.0.1/16"}}}}, "must be a CIDR without host bits"},
		{map[string]any{"pasive": true}, `unknown field "spec.pasive"`},
	} {
		if err := t.refuses(ctx, spinePeer(c.more), c.words); err != nil {
			return err
		}
	}
	t.Note("the API server itself refuses 7 of 7")
	return nil
}

// wrongLater are peers that only the agents find wrong. They say so, by a condition and an Event.
func (t *T) wrongLater(ctx context.Context) error {
	for _, c := range []struct {
		more  map[string]any
		words string
	}{
		{map[string]any{"sourceAddress": "fd00::1"}, "spec.sourceAddress: fd00::1 is not of the family of " + spineLink},
		{map[string]any{"address": "224.0.0.5"}, "spec.address: 224.0.0.5 is no address of a neighbour"},
		{map[string]any{"password": map[string]any{"secretRef": map[string]any{"name": "e2e-none"}}}, "Secret kube-system/e2e-none is not there"},
	} {
		if err := t.Apply(ctx, spinePeer(c.more)); err != nil {
			return err
		}
		message, err := t.judged(ctx, "bgppeer", extra, false, c.words)
		if err == nil {
			t.Note("BGPPeer: %s", message)
			err = t.said(ctx, "BGPPeer", extra, "NotAccepted", c.words)
		}
		for _, n := range cluster.Nodes() {
			have, failed := t.sessions(ctx, n.Name)
			if slices.ContainsFunc(have, func(s session) bool { return s.Name == extra }) {
				failed = fmt.Errorf("node %s has a session with it", n.Name)
			}
			err = errors.Join(err, failed)
		}
		_, gone := t.Kubectl(context.WithoutCancel(ctx), "delete", "bgppeer", extra)
		if err := errors.Join(err, gone); err != nil {
			return err
		}
	}
	return nil
}

// wrongEdit makes a peer wrong that is in use: the last good version stays in force. Mending it is no news for
// the session either.
func (t *T) wrongEdit(ctx context.Context) (err error) {
	undo, err := t.patched(ctx, "bgppeer", "rack-1", map[string]any{"sourceAddress": "fd00::1"})
	if undo != nil {
		defer func() { err = errors.Join(err, undo()) }()
	}
	if err != nil {
		return err
	}
	message, err := t.judged(ctx, "bgppeer", "rack-1", false, "(the last good version stays in force)")
	if err != nil {
		return err
	}
	t.Note("BGPPeer in use: %s", message)
	return t.said(ctx, "BGPPeer", "rack-1", "NotAccepted", "fd00::1 is not of the family")
}

// said waits for an Event of an object that holds the given words.
func (t *T) said(ctx context.Context, kind, name, reason, words string) error {
	return cluster.Eventually(ctx, 15*time.Second, func(ctx context.Context) error {
		var list corev1.EventList
		err := t.Get(ctx, &list, "events", "-n", "default", "--field-selector", "involvedObject.name="+name+",reason="+reason)
		if err != nil {
			return err
		}
		for _, e := range list.Items {
			if e.InvolvedObject.Kind == kind && strings.Contains(e.Message, words) {
				return nil
			}
		}
		return fmt.Errorf("no Event %s of %s/%s says %q", reason, kind, name, words)
	})
}
