package agent

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/podroute/podroute/bgp"
	"github.com/podroute/podroute/config"
)

// Why a node is ready, or is not, in a word: the reasons of conditions.
const (
	reasonReady         = "Ready"
	reasonNoPeers       = "NoPeers"
	reasonNoPodSubnet   = "NoPodSubnet"
	reasonSessionsDown  = "SessionsDown"
	reasonNotAdvertised = "NotAdvertised"
	reasonNotInstalled  = "RoutesNotInstalled"
	reasonSyncing       = "Syncing"
	reasonLeft          = "Left"
)

// Between ready and not ready lies time: a session that is reset, or a peer that restarts, must not move
// the node's condition to and fro.
const (
	unreadyAfter = 10 * time.Second // the policy has failed this long when the node counts as not ready
	againAfter   = 10 * time.Second // and has held this long when it counts as ready again
)

// verdict says whether the readiness policy holds: no reason means that it does.
type verdict struct{ Reason, Message string }

func (v verdict) holds() bool { return v.Reason == "" }

// evidence is what the readiness policy is judged by, at one moment.
type evidence struct {
	Desired *Desired
	Peers   []bgp.PeerState
	// Refused is why a prefix is not in the kernel, Broken why none can be written to it.
	Refused map[netip.Prefix]error
	Broken  error
	// Synced: every neighbour has told all it has, or was given the time for it.
	Synced bool
	// Begun: the sessions are those of Desired, but for what the speaker refused of them: Unset.
	Begun bool
	Unset error
}

// judge applies the policy: enough sessions are established, the own pod subnets are in the kernel and
// told to the peers, and what the peers told is in the kernel too. With patience a session counts also
// while its peer restarts, for each side then forwards by what it knew before (RFC 4724 section 4.2).
func (e evidence) judge(patience bool) verdict {
	d := e.Desired
	up, telling := 0, 0
	for _, p := range e.Peers {
		waiting := patience && p.Stale && !p.LastChoice
		if p.State != config.SessionEstablished && !waiting {
			continue
		}
		up++
		if waiting || told(p) || len(d.BGP.Paths) == 0 {
			telling++
		}
	}
	switch {
	case len(d.BGP.Peers) == 0 && d.MinSessions > 0:
		return verdict{reasonNoPeers, "no BGP peer is configured for this node: add a BGPPeer that selects it"}
	case d.Role == roleNode && d.CNI.NotReady != nil:
		return verdict{reasonNoPodSubnet, d.CNI.NotReady.Error()}
	case e.Broken != nil:
		return verdict{reasonNotInstalled, fmt.Sprintf("routes cannot be written to the kernel: %v", e.Broken)}
	}
	for _, b := range d.Blocks {
		if err := e.Refused[b]; err != nil {
			return verdict{reasonNotInstalled, fmt.Sprintf("block %v is not advertised: %v", b, err)}
		}
	}
	switch {
	case up < d.MinSessions:
		return verdict{reasonSessionsDown, fmt.Sprintf("%d of %d sessions established, %d needed%s", up, len(d.BGP.Peers), d.MinSessions, e.down())}
	case telling < d.MinSessions:
		return verdict{reasonNotAdvertised, fmt.Sprintf("%d of %d peers told this node's routes, %d needed", telling, len(d.BGP.Peers), d.MinSessions)}
	case !e.Synced && !patience && d.MinSessions > 0:
		return verdict{reasonSyncing, "the peers have not yet sent all their routes"}
	}
	return verdict{}
}

// told tells whether the peer of a session is told any route.
func told(p bgp.PeerState) bool {
	for _, n := range p.Advertised {
		if n > 0 {
			return true
		}
	}
	return false
}

// down names some of the peers whose sessions are not established, and why.
func (e evidence) down() string {
	const some = 3
	var names []string
	left := 0
	for _, p := range e.Peers {
		switch {
		case p.State == config.SessionEstablished:
		case len(names) == some:
			left++
		case p.LastError != "":
			names = append(names, fmt.Sprintf("%s (%v): %s", p.Name, p.Address, p.LastError))
		default:
			names = append(names, fmt.Sprintf("%s (%v)", p.Name, p.Address))
		}
	}
	if len(names) == 0 {
		return ""
	}
	text := "; not established: " + strings.Join(names, ", ")
	if left > 0 {
		text += fmt.Sprintf(" and %d more", left)
	}
	return text
}

// standing is what a node counts as.
type standing int

// Standings of a node.
const (
	undecided standing = iota // what was said of the node before this agent started stands
	ready
	notReady
)

// readiness turns verdicts into a standing. It is a value that time passes through: the caller says what
// time it is.
type readiness struct {
	// grace is until when an agent that took over from another is undecided: as long as the peers keep what
	// the other told them, the node is what it was. Zero on a first start, which decides at once.
	grace time.Time
	now   standing
	was   bool // ready once
	// holding is since when the policy has held, failing since when not; one of them is zero.
	holding, failing time.Time
}

// next is the standing at a time: strict is the verdict by what is, patient the one that forgives peers
// that restart.
func (r *readiness) next(at time.Time, strict, patient verdict) standing {
	if strict.holds() {
		r.failing = time.Time{}
		if r.holding.IsZero() {
			r.holding = at
		}
	} else {
		r.holding = time.Time{}
		if r.failing.IsZero() {
			r.failing = at
		}
	}
	switch r.now {
	case ready:
		if !patient.holds() && !strict.holds() && at.Sub(r.failing) >= unreadyAfter {
			r.now = notReady
		}
	case undecided:
		if strict.holds() {
			r.now, r.was = ready, true
		} else if !at.Before(r.grace) {
			r.now = notReady
		}
	case notReady:
		if strict.holds() && (!r.was || at.Sub(r.holding) >= againAfter) {
			r.now, r.was = ready, true
		}
	}
	return r.now
}
