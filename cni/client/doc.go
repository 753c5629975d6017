// Package client is the plugin's half of podroute's CNI: what cmd/podroute-cni does.
//
// A runtime executes the plugin for every pod it starts and stops, and most of the time that an ADD
// takes is the start of this program; so it judges nothing and knows nothing. It hands environment and
// standard input to the agent over a unix socket and prints the answer. Only three things it does by
// itself: it answers VERSION; it turns an agent that is not there into the specification's error; and
// in that case it serves DEL, by deleting the link whose name follows from container ID and interface
// name. The agent learns of that from the kernel.
//
// It must not import the agent's half, nor anything that takes long to initialise, which is why it
// writes its one ttrpc call by hand (ttrpc.go); a test holds it to that.
package client
