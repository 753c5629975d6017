// Package demo is the whole story of podroute on one machine: it deploys the two racks of
// deploy/containerlab, wires pods through the real plugin, proves from inside the pods and on the
// wire that traffic is routed as it is, and then breaks things under running pings.
//
// A stage is a fleet (the running lab, with a probe in every node of it) plus what the stages before
// it have found; Run goes through them in order and stops at the first that cannot go on. What is
// merely wrong (a flow that does not arrive, a gap too long) is noted, and the rest still runs: the
// report shows all of it.
//
// Nothing here knows how the agent works. What it is told comes from the manifests that the nodes
// have too; what it finds comes from sockets, captures and the kernel's routing tables, and from the
// agent only the state of its sessions, as podroute peers prints it.
package demo
