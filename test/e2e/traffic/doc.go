// Package traffic makes the traffic under which scenarios break things, and counts what was lost: a ping
// with its probes 10 ms apart, and an HTTP load of short connections.
//
// A stream runs as a process of its own (Serve) inside a pod's network namespace, started by way of the
// node and not of the Kubernetes API, so it goes on whatever happens to the API, the agent, the kubelet or
// the container runtime. It says when the first probe is answered, ends when its standard input does, and
// then prints its Tally. Start and Stop are the other end.
package traffic
