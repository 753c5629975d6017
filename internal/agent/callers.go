package agent

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/podroute/podroute/bgp"
	"github.com/podroute/podroute/config"
)

// callersFile, in the run folder, names those who have called: after a restart of the agent they are called back at once, as
// neighbours whose addresses are configured are, and need not call again.
const callersFile = "callers"

// recall has the speaker know whom an earlier run knew, if this one is its heir.
func (a *Agent) recall() {
	text, err := os.ReadFile(filepath.Join(a.RunDir, callersFile))
	if !a.restarted || errors.Is(err, fs.ErrNotExist) {
		return
	}
	earlier := map[string][]netip.Addr{}
	if err == nil {
		err = json.Unmarshal(text, &earlier)
	}
	if err != nil {
		a.Log.Warn("who has called earlier runs cannot be read: they have to call again", "err", err)
	}
	a.speaker.Remember(earlier)
}

// called takes in who has called, and writes it down. Where that fails, they must call again after a restart.
func (a *Agent) called(ctx context.Context) {
	a.reconcile(ctx)
	now := map[string][]netip.Addr{}
	for name, c := range a.speaker.Callers() {
		now[name] = c.Addresses
	}
	if err := writeNote(filepath.Join(a.RunDir, callersFile), now); err != nil {
		a.Log.Warn("it cannot be noted who has called: after a restart they must call again", "err", err)
	}
}

// callers are the BGPPeers that are whoever calls from a prefix: the addresses from which calls are heard, and a session
// with each who has called. One that is a peer by another name, or a node of the mesh, is that.
func (d *draft) callers() {
	for _, p := range d.Snapshot.PeersOf(d.node) {
		prefix, most, ok := p.Spec.Callers()
		if !ok {
			continue
		}
		object := "BGPPeer/" + p.Name
		if d.BGP.ListenPort < 0 {
			d.problem(object, "spec.prefix", "this node hears no calls: RouterConfig's listenPort is -1", "set it, or name the neighbours' addresses")
			continue
		}
		password, err := d.Snapshot.Password(p)
		if err != nil {
			d.problem(object, "spec.password", err.Error(), "provide the password; until then there is no session")
			continue
		}
		d.BGP.Ranges = append(d.BGP.Ranges, bgp.Range{Name: p.Name, Prefix: prefix, Password: string(password), Most: most})
		called := d.Callers[p.Name]
		if called.Full {
			d.problem(object, "spec.maxNeighbors", "more neighbours have called than there may be", "raise it, or see who they are: podroute peers names those that are there")
		}
		d.answer(p, called.Addresses)
	}
}

// answer adds sessions with those who have called, and has Advertisements for the BGPPeer be for them.
func (d *draft) answer(p config.BGPPeer, addresses []netip.Addr) {
	var names []string
	for _, a := range addresses {
		if isLocal(d.Links, a) || slices.ContainsFunc(d.BGP.Peers, func(q bgp.Peer) bool { return q.Address == a }) {
			continue
		}
		name := p.Name + "/" + a.String()
		d.add(p, name, a)
		if d.Called == nil {
			d.Called = map[string]bool{}
		}
		d.Called[name] = true
		names = append(names, name)
	}
	for i, path := range d.BGP.Paths {
		if slices.Contains(path.Peers, p.Name) {
			d.BGP.Paths[i].Peers = slices.Concat(path.Peers, names)
		}
	}
}
