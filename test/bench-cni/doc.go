// Command bench-cni measures podroute's CNI plugin beside the reference plugins ptp and host-local, in
// turns, in one run, through libcni as a container runtime would call them.
//
// It makes its own network namespaces: one for the node, in which a real podroute agent runs, and one
// a pod. It prints the median and the 95th percentile of ADD and DEL, one call at a time and eight at
// a time, and the ratio of the medians, and exits with 1 when podroute's ADD, one at a time, takes more
// than -limit of the reference's at the median. Both sides wire IPv4 only: ptp waits for duplicate
// address detection in IPv6, and a comparison with that would flatter us.
//
// The reference plugins are the versions that go.mod pins, built into -cache when they are missing.
package main
