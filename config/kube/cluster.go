package kube

import "github.com/podroute/podroute/config"

// Report hands over all that this node has to say of itself. It does not wait, and what was handed over before
// and not written yet is forgotten.
func (s *Source) Report(r config.NodeReport) { s.herald.take(r) }

// Departing tells whether this node goes for good: its Node was there and is gone, is being deleted, or kubelet
// has said that the machine shuts down. It goes by the last that the watch told: an API that is away
// sends nobody off.
func (s *Source) Departing() bool { return s.herald.departing() }

// Problems are what keeps the cluster from being told of this node.
func (s *Source) Problems() []config.Problem { return s.herald.problems() }
