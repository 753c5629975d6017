package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/podroute/podroute/internal/agent/agentpb"
)

// question is a command that asks the agent one thing and prints the answer, also in formats of its own.
func question(use, short string, run func(ctx context.Context, c agentpb.AgentClient, p *printer) error, formats ...string) *cobra.Command {
	var format, dir string
	c := &cobra.Command{
		Use: use, Short: short, Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return ask(c.Context(), dir, func(ctx context.Context, client agentpb.AgentClient) error {
				return run(ctx, client, newPrinter(c.OutOrStdout(), format))
			})
		},
	}
	outputFlag(c, &format, formats...)
	c.Flags().StringVar(&dir, "run-dir", runDir, "folder of the agent's sockets")
	return c
}

func newStatus() *cobra.Command {
	c := question("status", "Show this node at a glance", func(ctx context.Context, c agentpb.AgentClient, p *printer) error {
		s, err := c.Status(ctx, &agentpb.StatusRequest{})
		if err != nil {
			return err
		}
		if err := p.message(s, func(w io.Writer) { printStatus(w, p, s) }); err != nil {
			return err
		}
		if !s.GetReady() {
			return errNotReady
		}
		return nil
	})
	c.Long = "Show this node at a glance. Exits with 1 while the node is not ready."
	return c
}

func printStatus(w io.Writer, p *printer, s *agentpb.StatusResponse) {
	row := func(name, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	row("Node", "%s (%s)", s.GetNode(), s.GetRole())
	if s.GetReady() {
		row("Ready", "%s", p.paint(green, "yes"))
	} else {
		row("Ready", "%s: %s", p.paint(red, "no"), s.GetReason())
	}
	if d := s.GetDrain(); d != nil {
		row("Drained", "%s", drainText(p, d))
	}
	row("AS, router ID", "%d, %s", s.GetAs(), s.GetRouterId())
	row("Addresses", "%s", orDash(strings.Join(s.GetAddresses(), ", ")))
	row("Pod subnets", "%s", orDash(strings.Join(s.GetBlocks(), ", ")))
	held := ""
	if n := s.GetSessionsHeld(); n > 0 {
		held = p.paint(yellow, fmt.Sprintf(", %d held back", n))
	}
	row("Sessions", "%d of %d established%s", s.GetSessionsEstablished(), s.GetSessionsConfigured(), held)
	row("Routes", "%d installed", s.GetRoutesInstalled())
	row("Pods", "%d", s.GetPods())
	for _, st := range s.GetStations() {
		row("BMP", "%s", stationText(p, st))
	}
	how := ""
	if s.GetRestarted() {
		how = ", took over the routes of an earlier run"
	}
	row("Agent", "%s, up %s%s", s.GetVersion(), age(s.GetStarted()), how)
	for _, q := range s.GetProblems() {
		row(p.paint(yellow, "Problem"), "%s", problemText(q))
	}
}

// stationText is how it stands with a monitoring station.
func stationText(p *printer, s *agentpb.Station) string {
	if s.GetConnected() {
		return fmt.Sprintf("%s connected for %s, %d messages sent", s.GetAddress(), age(s.GetSince()), s.GetSent())
	}
	why := s.GetLastError()
	if why == "" {
		why = "calling it"
	}
	return fmt.Sprintf("%s %s: %s", s.GetAddress(), p.paint(yellow, "not connected"), why)
}

func problemText(q *agentpb.Problem) string {
	var parts []string
	for _, s := range []string{q.GetSource(), q.GetObject(), q.GetField(), q.GetMessage(), q.GetMend()} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	return strings.Join(parts, ": ")
}

func newPods() *cobra.Command {
	return question("pods", "Show the pods that are wired on this node", func(ctx context.Context, c agentpb.AgentClient, p *printer) error {
		a, err := c.Pods(ctx, &agentpb.PodsRequest{})
		if err != nil {
			return err
		}
		return p.message(a, func(w io.Writer) {
			fmt.Fprintln(w, "NAMESPACE\tNAME\tADDRESSES\tLINK\tCONTAINER\tINTERFACE")
			for _, q := range a.GetPods() {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%.13s\t%s\n", orDash(q.GetNamespace()), orDash(q.GetName()),
					strings.Join(q.GetAddresses(), ", "), q.GetLink(), q.GetContainerId(), q.GetInterface())
			}
		})
	})
}

func newBlocks() *cobra.Command {
	return question("blocks", "Show this node's pod subnets and how full they are", func(ctx context.Context, c agentpb.AgentClient, p *printer) error {
		a, err := c.Blocks(ctx, &agentpb.BlocksRequest{})
		if err != nil {
			return err
		}
		return p.message(a, func(w io.Writer) {
			fmt.Fprintln(w, "PREFIX\tUSED\tCOOLING DOWN\tSIZE")
			for _, b := range a.GetBlocks() {
				fmt.Fprintf(w, "%s\t%d\t%d\t%d\n", b.GetPrefix(), b.GetUsed(), b.GetCoolingDown(), b.GetSize())
			}
		})
	})
}

func newLeave() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use: "leave", Short: "Take this node out of the network and stop the agent", Args: cobra.NoArgs,
		Long: `Withdraw this node's routes, end its sessions, remove podroute's routes, nftables table and CNI configuration,
and stop the agent. Pods that still run lose their connection to other nodes.`,
		RunE: func(c *cobra.Command, _ []string) error {
			return ask(c.Context(), dir, func(ctx context.Context, client agentpb.AgentClient) error {
				_, err := client.Leave(ctx, &agentpb.LeaveRequest{})
				return err
			})
		},
	}
	c.Flags().StringVar(&dir, "run-dir", runDir, "folder of the agent's sockets")
	return c
}
