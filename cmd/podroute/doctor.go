package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/podroute/podroute/internal/agent/agentpb"
	"github.com/podroute/podroute/routes"
)

// finding is something that is wrong, and how to mend it.
type finding struct{ what, have, want, mend string }

func newDoctor() *cobra.Command {
	var dir, format string
	r := runtimeFolders{config: []string{"/etc/containerd/config.toml"}}
	c := &cobra.Command{
		Use: "doctor", Short: "Check this host, name what is wrong and how to mend it", Args: cobra.NoArgs,
		Long: `Check this host's settings, the container runtime's folders and, where an agent runs, what it sees of its sessions.
Exits with 1 if anything is wrong.`,
		RunE: func(c *cobra.Command, _ []string) error {
			host, err := routes.CheckHost(c.Context())
			if err != nil {
				return fmt.Errorf("check the host: %w", err)
			}
			var findings []finding
			for _, f := range host {
				findings = append(findings, finding{f.Setting, f.Have, f.Want, f.Mend})
			}
			note, role, neighbours := "", "", 0
			if _, err := os.Stat(filepath.Join(dir, "agent.sock")); err != nil {
				note = "No agent runs here; what it would know was not checked."
			} else {
				var found []finding
				found, role, neighbours = askDoctor(c.Context(), dir)
				findings = append(findings, found...)
			}
			limits, err := routes.CheckLimits(c.Context(), neighbours)
			if err != nil {
				return fmt.Errorf("check the host's limits: %w", err)
			}
			for _, f := range limits {
				findings = append(findings, finding{f.Setting, f.Have, f.Want, f.Mend})
			}
			if role != "Router" { // which has no pods
				found, err := r.check()
				if err != nil {
					return fmt.Errorf("check the container runtime's folders: %w", err)
				}
				findings = append(findings, found...)
			}
			return printFindings(newPrinter(c.OutOrStdout(), format), findings, note)
		},
	}
	outputFlag(c, &format)
	f := c.Flags()
	f.StringVar(&dir, "run-dir", runDir, "folder of the agent's sockets")
	f.StringVar(&r.conf, "cni-conf-dir", "/etc/cni/net.d", "folder of the container runtime's network configuration")
	f.StringVar(&r.bin, "cni-bin-dir", "/opt/cni/bin", "folder of the container runtime's network plugins")
	return c
}

// askDoctor asks the agent, judges its answers, and returns the node's role and how many neighbours it may have on its
// links: peers and pods.
func askDoctor(ctx context.Context, dir string) (findings []finding, role string, neighbours int) {
	err := ask(ctx, dir, func(ctx context.Context, c agentpb.AgentClient) error {
		s, err := c.Status(ctx, &agentpb.StatusRequest{})
		if err != nil {
			return err
		}
		p, err := c.Peers(ctx, &agentpb.PeersRequest{})
		if err != nil {
			return err
		}
		findings, role, neighbours = judge(s, p.GetPeers()), s.GetRole(), len(p.GetPeers())+int(s.GetPods())
		return nil
	})
	if err != nil {
		return []finding{{"agent", "no answer", "an answer", err.Error()}}, "", 0
	}
	return findings, role, neighbours
}

// judge finds what is wrong in what an agent says of its node.
func judge(s *agentpb.StatusResponse, peers []*agentpb.Peer) []finding {
	var out []finding
	if !s.GetReady() {
		out = append(out, finding{"readiness", "not ready", "ready", s.GetReason()})
	}
	for _, q := range s.GetProblems() {
		what := strings.Trim(q.GetObject()+" "+q.GetField(), " ")
		if what == "" {
			what = q.GetSource()
		}
		out = append(out, finding{what, q.GetMessage(), "-", orDash(q.GetMend())})
	}
	for _, p := range peers {
		if p.GetState() != "Established" {
			if told := func(q *agentpb.Problem) bool { return q.GetObject() == "session "+p.GetName() }; slices.ContainsFunc(s.GetProblems(), told) {
				continue
			}
			why := p.GetLastError()
			if why == "" {
				why = "see that the peer is there, and peers with this node"
			}
			out = append(out, finding{"session " + p.GetName(), p.GetState(), "Established", why})
			continue
		}
		received, accepted := uint32(0), uint32(0)
		for _, f := range p.GetFamilies() {
			received += f.GetReceived()
			accepted += f.GetAccepted()
		}
		if received > 0 && accepted == 0 {
			out = append(out, finding{"routes from " + p.GetName(), fmt.Sprintf("0 of %d accepted", received), "some", whyNone(s.GetAs(), p.GetAs())})
		}
	}
	return out
}

// whyNone says what may be the reason that no route of a peer is accepted.
func whyNone(own, peer uint32) string {
	const ranges = "see that they lie in RouterConfig's clusterCIDRs and acceptedPrefixLengths"
	if own == peer {
		return ranges
	}
	return fmt.Sprintf("if the other nodes are in AS %d too, their routes hold it in the AS path and are dropped as loops: give each node an AS of its own "+
		"(annotation podroute.io/as-number), set allowOwnAS: 1 on the BGPPeer, or have the router replace it (as-override); if they are not, %s", own, ranges)
}

// printFindings prints findings. Something wrong is errNotReady.
func printFindings(p *printer, findings []finding, note string) error {
	d := &agentpb.Diagnosis{Note: note}
	for _, f := range findings {
		d.Findings = append(d.Findings, &agentpb.Finding{What: f.what, Have: f.have, Want: f.want, Mend: f.mend})
	}
	err := p.message(d, func(w io.Writer) {
		if note != "" {
			fmt.Fprintln(w, note)
		}
		if len(findings) == 0 {
			fmt.Fprintln(w, "The host is fine.")
			return
		}
		fmt.Fprintln(w, "WHAT\tHAVE\tWANT\tMEND")
		for _, f := range findings {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", f.what, f.have, f.want, f.mend)
		}
	})
	if err == nil && len(findings) > 0 {
		err = errNotReady
	}
	return err
}
