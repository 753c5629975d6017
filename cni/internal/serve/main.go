// Command serve is an agent that does nothing but wire pods. Tests build it with the tag "failpoint"
// and kill it in every way.
//
//	serve SOCKET BLOCK...
//
// It serves in the network namespace it was started in, and prints "serving" when it does.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"

	"github.com/podroute/podroute/cni"
	"github.com/podroute/podroute/ipam"
)

func main() {
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "serve:", err)
		os.Exit(1)
	}
}

func run(socket string, blocks []string) error {
	ctx, cancel := signal.NotifyContext(context.Background(), unix.SIGTERM, os.Interrupt)
	defer cancel()
	alloc := ipam.New(ipam.Options{})
	prefixes := make([]netip.Prefix, len(blocks))
	for i, b := range blocks {
		var err error
		if prefixes[i], err = netip.ParsePrefix(b); err != nil {
			return err
		}
	}
	alloc.Set(prefixes)
	s, err := cni.New(cni.Options{
		Log:    slog.New(slog.NewTextHandler(os.Stderr, nil)),
		Socket: socket, Allocator: alloc, Quarantine: 100 * time.Millisecond,
	})
	if err != nil {
		return err
	}
	if err := s.Restore(ctx); err != nil {
		return err
	}
	fmt.Println("serving")
	return s.Run(ctx)
}
