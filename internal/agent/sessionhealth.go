package agent

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/podroute/podroute/bgp"
	"github.com/podroute/podroute/config"
)

// Why a node's sessions are healthy, or are not, in a word.
const (
	reasonAllUp    = "AllEstablished"
	reasonNone     = "NoSession"
	reasonSomeOut  = "NotEstablished"
	reasonOwnAS    = "OwnASInPath"
	reasonWarned   = "Warnings"
	reasonSettling = "Settling"
)

// unserved notes the BGPPeers that select this node and have no session: what is wrong with them stands among the problems.
func (d *draft) unserved() {
	served := map[string]bool{}
	for _, p := range d.BGP.Peers {
		served[p.Name] = true
	}
	for _, r := range d.BGP.Ranges {
		served[r.Name] = true
	}
	for _, p := range slices.Concat(d.Snapshot.PeersOf(d.node), d.Snapshot.KeylessOf(d.node)) {
		if served[p.Name] {
			continue
		}
		why := config.Problem{Object: "BGPPeer/" + p.Name, Message: "it selects this node, which has no session with it"}
		for _, x := range d.Problems { // what keeps it from having one was the last to be found
			if x.Object == why.Object {
				why = x
			}
		}
		d.Unserved = append(d.Unserved, why)
	}
}

// sessionless are the peers of this node without a session: those that Desired left out, and those that the speaker refused.
func (e evidence) sessionless() []config.Problem {
	out := slices.Clone(e.Desired.Unserved)
	refused := map[string]error{}
	why := errors.New("the BGP speaker does not know it")
	for _, err := range split(e.Unset) {
		var peer *bgp.PeerError
		var path *bgp.PathError
		switch {
		case errors.As(err, &peer):
			refused[peer.Peer] = peer.Err
		case !errors.As(err, &path):
			why = err
		}
	}
	there := map[string]bool{}
	for _, p := range e.Peers {
		there[p.Name] = true
	}
	for _, p := range e.Desired.BGP.Peers {
		if err := refused[p.Name]; err != nil && !there[p.Name] {
			out = append(out, config.Problem{Object: sessionObject(p.Name), Message: err.Error()})
		} else if !there[p.Name] {
			out = append(out, config.Problem{Object: sessionObject(p.Name), Message: why.Error()})
		}
	}
	for _, r := range e.Desired.BGP.Ranges {
		if err := refused[r.Name]; err != nil {
			out = append(out, config.Problem{Object: "BGPPeer/" + r.Name, Message: err.Error()})
		}
	}
	return out
}

// sessionHealth is how it stands with the sessions, for the NodeRouting, over time. It is a value that time passes through: the caller
// says what time it is.
type sessionHealth struct {
	// without is since when an object has no session.
	without map[string]time.Time
	// said is the last that was certain.
	said *config.Sessions
	// young: a session is not there or not up, and that is not yet a problem.
	young bool
}

// next is how it stands at a time; nil where there are no sessions. What is wrong is said once it has lasted, and that all is well not
// before all are up: in between what was said before stands, so that neither a start of the agent nor a new configuration moves it.
func (h *sessionHealth) next(now time.Time, e evidence) *config.Sessions {
	undecided := &config.Sessions{Undecided: true, Reason: reasonSettling, Message: fmt.Sprintf("sessions that are not up yet have %v to come up", absentAfter)}
	if h.young = !e.Begun; h.young {
		return undecided
	}
	none := e.sessionless()
	if len(e.Peers)+len(none) == 0 {
		h.without, h.said = nil, nil
		return nil
	}
	before := h.without
	h.without = map[string]time.Time{}
	none = slices.DeleteFunc(none, func(p config.Problem) bool {
		since, ok := before[p.Object]
		if !ok {
			since = now
		}
		h.without[p.Object] = since
		early := now.Sub(since) < absentAfter
		h.young = h.young || early
		return early
	})
	for _, p := range e.Peers {
		h.young = h.young || young(p, e.Desired.Called, now)
	}
	out := healthOf(e, none, now)
	switch {
	case !out.Healthy || !h.young:
		h.said = out
	case h.said == nil:
		return undecided
	}
	return h.said
}

// healthOf is how it stands with a node's sessions at this moment; none are the peers that have none.
func healthOf(e evidence, none []config.Problem, now time.Time) *config.Sessions {
	var texts []string
	out := &config.Sessions{Healthy: true, Reason: reasonAllUp, Message: "every session is established, or was a moment ago"}
	amiss := func(reason string, list []config.Problem) {
		if len(list) > 0 && out.Healthy {
			out.Healthy, out.Reason = false, reason
		}
		for _, p := range list {
			texts, out.Concerned = append(texts, p.Error()), append(out.Concerned, p.Object)
		}
	}
	var looping, warned []config.Problem
	for _, p := range e.Peers {
		if p.Looping > 0 {
			looping = append(looping, warnings([]bgp.PeerState{p})...)
		} else {
			warned = append(warned, warnings([]bgp.PeerState{p})...)
		}
	}
	amiss(reasonNone, none)
	amiss(reasonSomeOut, absent(e.Peers, e.Desired.Called, now))
	amiss(reasonOwnAS, looping)
	amiss(reasonWarned, warned)
	const most = 3
	if n := len(texts); n > most {
		texts = append(texts[:most], fmt.Sprintf("and %d more", n-most))
	}
	if !out.Healthy {
		out.Message = strings.Join(texts, "; ")
	}
	return out
}
