// Command podroute-cni is the CNI plugin: container runtimes execute it, and it asks the agent.
//
// See package client for what it does, and docs/cni.md for how it is configured.
package main

import (
	"os"

	"github.com/podroute/podroute/cni/client"
)

func main() {
	os.Exit(client.Plugin{Getenv: os.Getenv, Stdin: os.Stdin, Stdout: os.Stdout}.Run())
}
