package agent

import (
	"context"
	"net/netip"

	"github.com/podroute/podroute/config"
)

// Cluster is the Kubernetes API as far as an agent writes to it. None of its methods is called in the
// loop's goroutine or on the way of a pod's ADD where it may wait for the API.
type Cluster interface {
	// Report hands over all that this node has to say of itself. It never blocks: what was handed over before
	// and is not yet written is forgotten.
	Report(r config.NodeReport)
	// Departing tells whether this node goes for good: its Node object is gone or being deleted, or the machine
	// shuts down. SIGTERM then takes the form of leaving.
	Departing() bool
	// Problems are what keeps the cluster from being told.
	Problems() []config.Problem
	// Claim makes the first candidate that nobody has this node's, or its rack's, and returns it; config.ErrTaken
	// where there is none.
	Claim(ctx context.Context, c config.Claim) (netip.Prefix, error)
	// Release gives an empty block of this node's back.
	Release(ctx context.Context, block netip.Prefix) error
	// KnowRoutes hands over how to find out whether the network has a route to a block, or to a part of it: before
	// one is taken from a node that is gone.
	KnowRoutes(known func(ctx context.Context, block netip.Prefix) (bool, error))
}
