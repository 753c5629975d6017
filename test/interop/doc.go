// Package interop tests the real agent and the real plugin, as separate processes, against the real
// kernel and real routing daemons, in network namespaces of its own.
package interop
