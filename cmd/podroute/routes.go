package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/podroute/podroute/internal/agent/agentpb"
)

func newRoutes() *cobra.Command {
	var learned, installed, advertised bool
	c := question("routes", "Show routes: installed in the kernel, learned from peers, or advertised to them",
		func(ctx context.Context, c agentpb.AgentClient, p *printer) error {
			kind := agentpb.RoutesRequest_INSTALLED
			switch {
			case learned:
				kind = agentpb.RoutesRequest_LEARNED
			case advertised:
				kind = agentpb.RoutesRequest_ADVERTISED
			}
			list, err := readRoutes(ctx, c, kind)
			if err != nil {
				return err
			}
			return p.message(list, func(w io.Writer) { printRoutes(w, p, kind, list.GetRoutes()) })
		})
	c.Long = `Show routes: installed in the kernel, learned from peers, or advertised to them.

With --learned, each path that a peer has told is Best (traffic goes there), Beaten by a better one, Rejected by import,
Held because its peer comes and goes, or Lingering (only flows that are under way stay, because its peer asks for other ways);
WHY says by which rule or step. --learned and --advertised show the paths' attributes.`
	c.Flags().BoolVar(&learned, "learned", false, "all that peers have told, what became of it, and why")
	c.Flags().BoolVar(&installed, "installed", false, "podroute's routes in the kernel (the default)")
	c.Flags().BoolVar(&advertised, "advertised", false, "what this node tells its peers")
	check := c.PreRunE
	c.PreRunE = func(c *cobra.Command, args []string) error {
		if learned && installed || learned && advertised || installed && advertised {
			return usageError{errors.New("--learned, --installed and --advertised exclude one another: choose one")}
		}
		return check(c, args)
	}
	return c
}

func readRoutes(ctx context.Context, c agentpb.AgentClient, kind agentpb.RoutesRequest_Kind) (*agentpb.RouteList, error) {
	s, err := c.Routes(ctx, &agentpb.RoutesRequest{Kind: kind})
	if err != nil {
		return nil, err
	}
	list := &agentpb.RouteList{}
	for {
		r, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return nil, err
		}
		list.Routes = append(list.Routes, r)
	}
}

func printRoutes(w io.Writer, p *printer, kind agentpb.RoutesRequest_Kind, routes []*agentpb.Route) {
	switch kind {
	case agentpb.RoutesRequest_LEARNED:
		fmt.Fprintf(w, "PREFIX\tNEXT HOP\tPEER\t%s\tATTRIBUTES\tWHY\n", p.paint(plain, "STATE"))
	case agentpb.RoutesRequest_ADVERTISED:
		fmt.Fprintln(w, "PREFIX\tNEXT HOP\tTO\tATTRIBUTES\tORIGIN")
	default:
		fmt.Fprintln(w, "PREFIX\tORIGIN\tNEXT HOPS\tSOURCE")
	}
	for _, r := range routes {
		var hops []string
		for _, h := range r.GetNextHops() {
			hops = append(hops, hopText(h))
		}
		if r.GetType() == "unreachable" {
			hops = []string{"unreachable"}
		}
		via := orDash(strings.Join(hops, ", "))
		switch kind {
		case agentpb.RoutesRequest_LEARNED:
			state, why := learnedText(p, r)
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", r.GetPrefix(), via, r.GetPeer(), state, attributesText(r), orDash(why))
		case agentpb.RoutesRequest_ADVERTISED:
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", r.GetPrefix(), via, r.GetPeer(), attributesText(r), orDash(r.GetOrigin()))
		default:
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", r.GetPrefix(), r.GetOrigin(), via, orDash(r.GetSource()))
		}
	}
}

// learnedText is what has become of a path, and why.
func learnedText(p *printer, r *agentpb.Route) (state, why string) {
	state, colour := r.GetState(), green
	why = r.GetWhy()
	switch {
	case r.GetProblem() != "":
		why, colour = "not installed: "+r.GetProblem(), red
	case state != "Best":
		colour = yellow
	}
	if r.GetStale() {
		state += ", stale"
	}
	return p.paint(colour, state), why
}

// attributesText are a path's attributes, but for its next hop.
func attributesText(r *agentpb.Route) string {
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if path := r.GetAsPath(); len(path) > 0 {
		add("AS path %s", strings.Trim(fmt.Sprint(path), "[]"))
	}
	if o := r.GetBgpOrigin(); o != "IGP" && o != "" {
		add("origin %s", o)
	}
	if r.LocalPref != nil {
		add("local-pref %d", r.GetLocalPref())
	}
	if r.Med != nil {
		add("MED %d", r.GetMed())
	}
	if c := r.GetCommunities(); len(c) > 0 {
		add("communities %s", strings.Join(c, " "))
	}
	if r.GetOriginatorId() != "" {
		add("originator %s", r.GetOriginatorId())
	}
	if c := r.GetClusterList(); len(c) > 0 {
		add("clusters %s", strings.Join(c, " "))
	}
	if r.GetAggregate() {
		add("aggregate")
	}
	if id := r.GetPathId(); id > 0 {
		add("path ID %d", id)
	}
	return orDash(strings.Join(out, ", "))
}

func hopText(h *agentpb.NextHop) string {
	var parts []string
	if h.GetAddress() != "" {
		parts = append(parts, h.GetAddress())
	}
	if h.GetLink() != "" {
		parts = append(parts, "dev "+h.GetLink())
	}
	return strings.Join(parts, " ")
}
