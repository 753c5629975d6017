package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/podroute/podroute/internal/agent/agentpb"
)

func newPeers() *cobra.Command {
	c := question("peers", "Show the BGP sessions", func(ctx context.Context, c agentpb.AgentClient, p *printer) error {
		a, err := c.Peers(ctx, &agentpb.PeersRequest{})
		if err != nil {
			return err
		}
		return p.message(a, func(w io.Writer) {
			if p.format == "wide" {
				printSettings(w, p, a.GetPeers())
				return
			}
			fmt.Fprintf(w, "NAME\tADDRESS\tAS\t%s\tSINCE\tBFD\tFAMILY\tRECEIVED\tACCEPTED\tADVERTISED\tFLAPS\tLAST ERROR\n", p.paint(plain, "STATE"))
			for _, q := range a.GetPeers() {
				printPeer(w, p, q)
			}
		})
	}, "wide")
	c.Long = "Show the BGP sessions. -o wide shows their settings, and what was negotiated."
	return c
}

func printPeer(w io.Writer, p *printer, q *agentpb.Peer) {
	head := fmt.Sprintf("%s\t%s\t%d\t%s\t%s\t%s", q.GetName(), q.GetAddress(), q.GetAs(), p.paint(stateColour(q), q.GetState()), age(q.GetSince()), bfdText(q.GetBfd()))
	tail := fmt.Sprintf("%d\t%s", q.GetFlaps(), trouble(q))
	if len(q.GetFamilies()) == 0 {
		fmt.Fprintf(w, "%s\t-\t-\t-\t-\t%s\n", head, tail)
	}
	for _, f := range q.GetFamilies() {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%s\n", head, f.GetFamily(), f.GetReceived(), f.GetAccepted(), f.GetAdvertised(), tail)
		head, tail = "\t\t\t"+p.paint(plain, "")+"\t\t", "\t"
	}
}

// trouble is what there is to know of a session's troubles: what it warns of, why it is not up, or why it was lost last.
func trouble(q *agentpb.Peer) string {
	switch {
	case q.GetLastError() != "" && q.GetStale():
		return q.GetLastError() + " (its routes are kept)"
	case q.GetLastError() != "":
		return q.GetLastError()
	case len(q.GetWarnings()) > 0:
		return "warning: " + strings.Join(q.GetWarnings(), "; ")
	case q.GetLastDown() != "":
		return fmt.Sprintf("%s ago: %s", age(q.GetLastDownAt()), q.GetLastDown())
	}
	return "-"
}

// bfdText is the state of BFD with a peer, and why nothing comes of it.
func bfdText(b *agentpb.Bfd) string {
	switch {
	case b == nil:
		return "-"
	case b.GetOff():
		return "off (the peer still uses it)"
	case b.GetProblem() != "":
		return b.GetState() + ": " + b.GetProblem()
	case b.GetState() != "Up" && b.GetIgnoredReason() != "":
		return b.GetState() + ": a packet of the peer's was ignored: " + b.GetIgnoredReason()
	}
	return b.GetState()
}

func stateColour(q *agentpb.Peer) string {
	if q.GetState() == "Established" {
		return green
	}
	return red
}

// printSettings prints a line a session: what was negotiated, while it is up, and how it is configured.
func printSettings(w io.Writer, p *printer, peers []*agentpb.Peer) {
	fmt.Fprintf(w, "NAME\tADDRESS\tAS\t%s\tOUR ADDRESS\tOUR AS\tROUTER ID\tHOLD\tKEEPALIVE\tKEPT\tSETTINGS\n", p.paint(plain, "STATE"))
	for _, q := range peers {
		s := q.GetSettings()
		as, ours, hold, keepalive := q.GetLocalAs(), q.GetLocalAddress(), q.GetHoldSeconds(), q.GetKeepaliveSeconds()
		if q.GetState() != "Established" {
			as, ours, hold, keepalive = s.GetLocalAs(), s.GetSourceAddress(), s.GetHoldSeconds(), s.GetKeepaliveSeconds()
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%d\t%s\t%ds\t%ds\t%s\t%s\n", q.GetName(), q.GetAddress(), q.GetAs(), p.paint(stateColour(q), q.GetState()),
			orDash(ours), as, orDash(q.GetRouterId()), hold, keepalive, keptText(q), orDash(settingsText(s)))
	}
}

// keptText is for how long the peer's routes are kept while it is away: its restart time, and what comes after that.
func keptText(q *agentpb.Peer) string {
	if !q.GetGracefulRestart() {
		return "-"
	}
	text := fmt.Sprintf("%ds", q.GetRestartSeconds())
	if n := q.GetLongLivedSeconds(); n > 0 {
		text += fmt.Sprintf(" + %ds", n)
	}
	if q.GetNotifications() {
		text += ", over NOTIFICATIONs too"
	}
	return text
}

// settingsText are the settings that are not as usual, and the bound on prefixes.
func settingsText(s *agentpb.PeerSettings) string {
	var out []string
	is := func(set bool, format string, args ...any) {
		if set {
			out = append(out, fmt.Sprintf(format, args...))
		}
	}
	is(s.GetInternal(), "iBGP")
	is(s.GetPort() != 0 && s.GetPort() != 179, "port %d", s.GetPort())
	is(s.GetPassive(), "passive")
	is(s.GetPassword(), "password")
	is(s.GetTtlSecurity() > 0, "TTL security %d", s.GetTtlSecurity())
	is(s.GetMultihopTtl() > 0, "multihop %d", s.GetMultihopTtl())
	is(s.GetReflectorClient(), "reflector client")
	is(s.GetAllowOwnAs() > 0, "own AS %d times", s.GetAllowOwnAs())
	is(s.GetOverrideAs(), "AS override")
	is(s.GetNextHop() != "", "next hop %s", strings.ToLower(s.GetNextHop()))
	is(s.GetReceivePaths(), "receives several paths")
	is(s.GetSendPaths(), "sends several paths")
	is(!s.GetGracefulRestart(), "no graceful restart")
	is(!s.GetDamped(), "not damped")
	is(s.GetExternal(), "any AS")
	is(len(s.GetImport()) > 0, "import %s", strings.Join(s.GetImport(), "; "))
	is(len(s.GetExport()) > 0, "export %s", strings.Join(s.GetExport(), "; "))
	is(len(s.GetFamilies()) == 1, "%s only", strings.Join(s.GetFamilies(), ""))
	is(s.GetMaxPrefixes() > 0 && !s.GetMaxPrefixesWarn(), "at most %d prefixes", s.GetMaxPrefixes())
	is(s.GetMaxPrefixes() > 0 && s.GetMaxPrefixesWarn(), "warns above %d prefixes", s.GetMaxPrefixes())
	return strings.Join(out, ", ")
}
