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

// addresses are an allocator's, as a server wants them.
type addresses struct{ *ipam.Allocator }

func (a addresses) Allocate(r cni.AddressRequest) ([]netip.Addr, error) {
	return a.Allocator.Allocate(ipam.Request{Key: r.Key, Want: r.Want})
}

func run(socket string, blocks []string) error {
	ctx, cancel := signal.NotifyContext(context.Background(), unix.SIGTERM, os.Interrupt)
	defer cancel()
	alloc := ipam.New(ipam.Options{})
	subnets := make([]ipam.Block, len(blocks))
	for i, b := range blocks {
		var err error
		if subnets[i].Prefix, err = netip.ParsePrefix(b); err != nil {
			return err
		}
	}
	alloc.Set(subnets)
	s, err := cni.New(cni.Options{
		Log:    slog.New(slog.NewTextHandler(os.Stderr, nil)),
		Socket: socket, Allocator: addresses{alloc}, Quarantine: 100 * time.Millisecond,
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
