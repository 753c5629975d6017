// Package hostlink derives the name and the MAC addresses of an attachment's veth pair.
//
// All of it is a hash of the container ID and the interface name, so nothing has to be looked up: the
// plugin finds the link it must delete while the agent is down, and the agent, after a restart, knows
// the pod's MAC address without asking the pod's namespace.
package hostlink
