package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/podroute/podroute/internal/agent/agentpb"
)

// Stages of a drain, as the agent says them.
const (
	stageAsking    = "Asking"
	stageWithdrawn = "Withdrawn"
	stageFaded     = "Faded"
	stageTimedOut  = "TimedOut"
)

func newDrain() *cobra.Command {
	var (
		format, dir     string
		wait, forwarded bool
		timeout         time.Duration
	)
	c := &cobra.Command{
		Use: "drain", Short: "Take traffic away from this node, without losing any", Args: cobra.NoArgs,
		Long: `Ask the neighbours to use other ways than through this node (GRACEFUL_SHUTDOWN, RFC 8326), then withdraw its service
addresses, and wait until no traffic comes for them any more. Pod subnets stay while pods stay.

The node stays drained until podroute undrain, or a reboot. Exits with 1 when traffic still comes after the timeout.`,
		RunE: func(c *cobra.Command, _ []string) error {
			if timeout < 0 || timeout%time.Second != 0 || timeout/time.Second > math.MaxUint32 {
				return usageError{fmt.Errorf("--timeout %v: use whole seconds, such as 90s or 5m", timeout)}
			}
			req := &agentpb.DrainRequest{Wait: wait, TimeoutSeconds: uint32(timeout / time.Second), Forwarded: forwarded} //nolint:gosec // bounded above
			var report *agentpb.DrainReport
			err := converse(c.Context(), dir, func(ctx context.Context, client agentpb.AgentClient) (err error) {
				report, err = follow(ctx, client, req, newTicker(c.ErrOrStderr()))
				return err
			})
			if err != nil {
				return err
			}
			p := newPrinter(c.OutOrStdout(), format)
			if err := p.message(report, func(w io.Writer) { printDrain(w, p, report) }); err != nil {
				return err
			}
			if report.GetStage() == stageTimedOut {
				return errNotReady
			}
			return nil
		},
	}
	outputFlag(c, &format)
	f := c.Flags()
	f.BoolVar(&wait, "wait", true, "wait until traffic has faded")
	f.DurationVar(&timeout, "timeout", 0, "how long to wait for it, in whole seconds (default: as RouterConfig's drain.timeout says, 5m)")
	f.BoolVar(&forwarded, "forwarded", false, "wait for all that is forwarded from outside to fade, not only for traffic to service addresses")
	f.StringVar(&dir, "run-dir", runDir, "folder of the agent's sockets")
	return c
}

// follow drains and shows how it goes. It returns the last report.
func follow(ctx context.Context, client agentpb.AgentClient, req *agentpb.DrainRequest, t *ticker) (*agentpb.DrainReport, error) {
	s, err := client.Drain(ctx, req)
	if err != nil {
		return nil, err
	}
	defer t.end()
	var last *agentpb.DrainReport
	for {
		r, err := s.Recv()
		switch {
		case errors.Is(err, io.EOF) && last == nil:
			return nil, errors.New("the agent ended the drain without a report: podroute status tells how it is")
		case errors.Is(err, io.EOF):
			return last, nil
		case ctx.Err() != nil:
			return nil, errors.New("interrupted; the node stays drained until podroute undrain")
		case err != nil:
			return nil, err
		}
		last = r
		t.show(progress(r))
	}
}

// progress is a report in a line.
func progress(r *agentpb.DrainReport) string {
	text := ""
	switch r.GetStage() {
	case stageAsking:
		text = fmt.Sprintf("%d service addresses to be withdrawn, %d of %d sessions asked for other ways", len(r.GetWithdrawn()), r.GetSessionsTold(), r.GetSessions())
	case stageWithdrawn:
		text = fmt.Sprintf("%d service addresses withdrawn, %d of %d sessions told", len(r.GetWithdrawn()), r.GetSessionsTold(), r.GetSessions())
	default:
		return ""
	}
	if n := len(r.GetSeconds()); n > 0 {
		s := r.GetSeconds()[n-1]
		text += fmt.Sprintf("; %d s: %d packets/s to them, %d forwarded", s.GetSecond(), s.GetServices(), s.GetForwarded())
	}
	return text
}

// ticker shows one line that changes, on a terminal; elsewhere nothing.
type ticker struct {
	out   io.Writer
	on    bool
	width int
}

func newTicker(out io.Writer) *ticker {
	f, ok := out.(*os.File)
	return &ticker{out: out, on: ok && term.IsTerminal(int(f.Fd()))}
}

func (t *ticker) show(line string) {
	if !t.on || line == "" {
		return
	}
	fmt.Fprintf(t.out, "\r%-*s", t.width, line)
	t.width = len(line)
}

func (t *ticker) end() {
	if t.on && t.width > 0 {
		fmt.Fprintf(t.out, "\r%*s\r", t.width, "")
	}
}

// secondsShown of a report in a table; -o json has them all.
const secondsShown = 20

func printDrain(w io.Writer, p *printer, r *agentpb.DrainReport) {
	row := func(name, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	row("Node", "%s", r.GetNode())
	row("Drained", "%s", drainText(p, r))
	row("Withdrawn", "%s", orDash(strings.Join(r.GetWithdrawn(), ", ")))
	row("Sessions told", "%d of %d", r.GetSessionsTold(), r.GetSessions())
	row("Left", "%d pods; advertised for them: %s", r.GetPods(), orDash(strings.Join(r.GetBlocks(), ", ")))
	if r.GetProblem() != "" {
		row(p.paint(yellow, "Problem"), "traffic is not counted: %s", r.GetProblem())
	}
	all := r.GetSeconds()
	if len(all) == 0 {
		return
	}
	fmt.Fprintln(w, "\nSECOND\tTO SERVICES\tFORWARDED\tRECEIVED")
	for _, s := range all[max(0, len(all)-secondsShown):] {
		fmt.Fprintf(w, "%d\t%d\t%d\t%d\n", s.GetSecond(), s.GetServices(), s.GetForwarded(), s.GetReceived())
	}
}

// drainText says in a line how far a drain is, and why there is one.
func drainText(p *printer, r *agentpb.DrainReport) string {
	text := map[string]string{
		stageAsking:    p.paint(yellow, "neighbours are asked for other ways; service addresses will be withdrawn"),
		stageWithdrawn: p.paint(yellow, "service addresses are withdrawn; waiting for traffic to fade"),
		stageFaded:     p.paint(green, "traffic has faded"),
		stageTimedOut:  p.paint(red, "traffic still comes"),
	}[r.GetStage()]
	return fmt.Sprintf("%s (for %s, because of %s)", text, age(r.GetSince()), strings.Join(r.GetBecause(), ", "))
}

// errStillDrained ends undrain where something else has the node drained.
func errStillDrained(because []string) error {
	return fmt.Errorf("the node is still drained, because of %s: remove the annotation, or uncordon the node", strings.Join(because, ", "))
}

func newUndrain() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use: "undrain", Short: "Take traffic again, after drain", Args: cobra.NoArgs,
		Long: `Advertise this node's service addresses again, and everything without GRACEFUL_SHUTDOWN. Exits with 1 where the node
stays drained for another reason.`,
		RunE: func(c *cobra.Command, _ []string) error {
			return ask(c.Context(), dir, func(ctx context.Context, client agentpb.AgentClient) error {
				r, err := client.Undrain(ctx, &agentpb.UndrainRequest{})
				if err == nil && len(r.GetBecause()) > 0 {
					err = errStillDrained(r.GetBecause())
				}
				return err
			})
		},
	}
	c.Flags().StringVar(&dir, "run-dir", runDir, "folder of the agent's sockets")
	return c
}
