package agent

import (
	"fmt"
	"time"

	"github.com/podroute/podroute/bgp"
	"github.com/podroute/podroute/config"
)

// absentAfter is how long a session that should be up may be not, before that is a problem: at a start, or after a reset, its
// neighbour is called within five seconds.
const absentAfter = 7 * time.Second

// absentCaller is the same of a neighbour that called by itself: one that leaves in order is forgotten before that, and no problem.
const absentCaller = bgp.RememberedFor + 3*time.Second

// young tells whether a session is not up, and that is not yet a problem; called are those with neighbours that called by themselves.
func young(p bgp.PeerState, called map[string]bool, now time.Time) bool {
	patience := absentAfter
	if called[p.Name] && !p.Stale {
		patience = absentCaller
	}
	return p.State != config.SessionEstablished && now.Sub(p.Since) < patience
}

// absent are the sessions that should be up and are not, each with its last error.
func absent(peers []bgp.PeerState, called map[string]bool, now time.Time) []config.Problem {
	var out []config.Problem
	for _, p := range peers {
		if p.State == config.SessionEstablished || young(p, called, now) {
			continue
		}
		text := fmt.Sprintf("with %v is not up", p.Address)
		if p.Stale {
			text += ", its routes are kept for now"
		}
		if p.LastError != "" {
			text += ": " + p.LastError
		}
		out = append(out, config.Problem{Object: sessionObject(p.Name), Message: text, Mend: mendOf(p.Reason)})
	}
	return out
}

// unheard are the ranges of neighbours some of whose calls the kernel may have dropped for their signature.
func unheard(ranges []bgp.Range, callers map[string]bgp.Callers) []config.Problem {
	var out []config.Problem
	for _, r := range ranges {
		if !callers[r.Name].Unheard {
			continue
		}
		p := config.Problem{
			Object: "BGPPeer/" + r.Name, Field: "spec.password",
			Message: "in the last minutes the kernel has dropped TCP segments that were not signed, or with another password; it does not tell from whom",
			Mend:    fmt.Sprintf("if a neighbour in %v calls in vain, make its password this one", r.Prefix),
		}
		if r.Password == "" {
			p.Message = "in the last minutes the kernel has dropped TCP segments that were signed with a password, and there is none here; it does not tell from whom"
			p.Mend = fmt.Sprintf("if a neighbour in %v calls in vain, set its password here, or take it away there", r.Prefix)
		}
		out = append(out, p)
	}
	return out
}

// sessionObject names a session in problems.
func sessionObject(name string) string { return "session " + name }

// mendOf says what to do about a session that is not up.
func mendOf(why bgp.Reason) string {
	switch why {
	case bgp.ReasonNoAnswer:
		return "compare the passwords at both ends, and see that the neighbour is there and has this node as its own neighbour"
	case bgp.ReasonConnect:
		return "see that the neighbour's BGP listens there, and that nothing on the way refuses it"
	case bgp.ReasonBadAS, bgp.ReasonBadMessage, bgp.ReasonNotificationReceived, bgp.ReasonNotificationSent:
		return "compare AS numbers, addresses and families at both ends; the neighbour's log says what it makes of this node"
	case bgp.ReasonMaxPrefixes:
		return "raise maxPrefixes of the BGPPeer, or have the neighbour send less"
	case bgp.ReasonLinkDown:
		return "bring the link up, or let the BGPPeer not select this node"
	case bgp.ReasonInvalid:
		return "correct the BGPPeer"
	case bgp.ReasonNone, bgp.ReasonHoldTimerExpired, bgp.ReasonClosed, bgp.ReasonRestarting, bgp.ReasonRestartExpired, bgp.ReasonLost, bgp.ReasonReconfigured:
	}
	return "see that the neighbour is there and has this node as its own neighbour"
}
