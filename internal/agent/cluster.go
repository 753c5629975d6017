package agent

import (
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
}
