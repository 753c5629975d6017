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
			return p.message(list, func(w io.Writer) { printRoutes(w, kind, list.GetRoutes()) })
		})
	c.Flags().BoolVar(&learned, "learned", false, "what peers have told, and why a route is not installed")
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

func printRoutes(w io.Writer, kind agentpb.RoutesRequest_Kind, routes []*agentpb.Route) {
	switch kind {
	case agentpb.RoutesRequest_LEARNED:
		fmt.Fprintln(w, "PREFIX\tNEXT HOPS\tPEERS\tPROBLEM")
	case agentpb.RoutesRequest_ADVERTISED:
		fmt.Fprintln(w, "PREFIX\tNEXT HOP\tTO\tCOMMUNITIES\tORIGIN")
	default:
		fmt.Fprintln(w, "PREFIX\tORIGIN\tNEXT HOPS\tSOURCE")
	}
	for _, r := range routes {
		var hops, peers []string
		for _, h := range r.GetNextHops() {
			hops = append(hops, hopText(h))
			peers = append(peers, h.GetPeer())
		}
		if r.GetType() == "unreachable" {
			hops = []string{"unreachable"}
		}
		via := orDash(strings.Join(hops, ", "))
		switch kind {
		case agentpb.RoutesRequest_LEARNED:
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", r.GetPrefix(), via, strings.Join(peers, ", "), orDash(r.GetProblem()))
		case agentpb.RoutesRequest_ADVERTISED:
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", r.GetPrefix(), via, r.GetPeer(), orDash(strings.Join(r.GetCommunities(), " ")), orDash(r.GetOrigin()))
		default:
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", r.GetPrefix(), r.GetOrigin(), via, orDash(r.GetSource()))
		}
	}
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
