package cni

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/containerd/ttrpc"
	"golang.org/x/sync/errgroup"

	"github.com/podroute/podroute/cni/cnipb"
	"github.com/podroute/podroute/cni/internal/rtnl"
)

// DefaultQuarantine is how long a link without a readable alias stays, down, before it is removed.
const DefaultQuarantine = 30 * time.Second

// shutdownGrace is how long calls in flight may take when the server ends.
const shutdownGrace = 5 * time.Second

// AddressRequest asks for a pod's addresses.
type AddressRequest struct {
	Key            string       // the host link's name
	Namespace, Pod string       // empty where the runtime does not say
	Want           []netip.Addr // those that the pod asks for by name
}

// Allocator hands out pod addresses. It never waits for anything. The key is the host link's name.
type Allocator interface {
	Allocate(r AddressRequest) ([]netip.Addr, error)
	Release(key string)
	Restore(used map[string][]netip.Addr) error
}

// Options are a server's settings for life.
type Options struct {
	Log        *slog.Logger
	Socket     string // path of the unix socket
	Allocator  Allocator
	Quarantine time.Duration // 0: DefaultQuarantine; negative: none
	ProcSys    string        // where a pod's settings are written; empty: /proc/sys
}

// Settings may change while the server runs.
type Settings struct {
	MTU      int   // bytes, of pods made from now on; 0: the kernel's default, 1500
	NotReady error // why ADD cannot be served now; nil: it can
}

// Server wires pods; see the package comment.
type Server struct {
	log        *slog.Logger
	socket     string
	alloc      Allocator
	quarantine time.Duration
	procSys    string

	home    *netNS // the node's own namespace: that of New's caller
	conns   conns
	watcher *rtnl.Watcher
	locks   locks
	table   *table

	mu       sync.Mutex
	settings Settings
	listener net.Listener // from Restore on
	inode    uint64       // of the listener's socket
	suspects []suspect
}

// New opens the netlink sockets, in the namespace of the calling thread: that is where the host sides
// of pods will be.
func New(o Options) (*Server, error) {
	if o.Quarantine == 0 {
		o.Quarantine = DefaultQuarantine
	}
	if o.ProcSys == "" {
		o.ProcSys = "/proc/sys"
	}
	home, err := openNetNS("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	// Watching begins before the first dump (Restore): nothing falls between.
	w, err := rtnl.Watch(home.fd(), routeProtocol)
	if err != nil {
		home.close()
		return nil, fmt.Errorf("watch links: %w", err)
	}
	return &Server{
		log: o.Log, socket: o.Socket, alloc: o.Allocator, quarantine: o.Quarantine, procSys: o.ProcSys,
		home: home, conns: conns{ns: home.fd()}, watcher: w, table: newTable(),
	}, nil
}

// Set states the settings, all of them.
func (s *Server) Set(_ context.Context, set Settings) error {
	if set.MTU != 0 && (set.MTU < 1280 || set.MTU > 65535) {
		return fmt.Errorf("MTU %d of pods: must be 1280 (RFC 8200 section 5) to 65535, or 0", set.MTU)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settings = set
	return nil
}

func (s *Server) current() Settings {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.settings
}

// Attachments returns the pods' interfaces, by host link name.
func (s *Server) Attachments() []Attachment { return s.table.list() }

// Changed signals that Attachments has changed.
func (s *Server) Changed() <-chan struct{} { return s.table.changed }

// Run serves the plugin and watches the links until ctx ends. Restore must have come before. The
// server is of no use afterwards.
func (s *Server) Run(ctx context.Context) error {
	s.mu.Lock()
	l := s.listener
	s.mu.Unlock()
	if l == nil {
		return errors.New("cni: Run before Restore")
	}
	rpc, err := ttrpc.NewServer(ttrpc.WithServerHandshaker(ttrpc.UnixSocketRequireSameUser()))
	if err != nil {
		return fmt.Errorf("ttrpc server: %w", err)
	}
	cnipb.RegisterCNIService(rpc, &service{s})

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := rpc.Serve(ctx, l); !errors.Is(err, ttrpc.ErrServerClosed) {
			return fmt.Errorf("serve %s: %w", s.socket, err)
		}
		return nil
	})
	g.Go(func() error { return s.watch(ctx) })
	g.Go(func() error { return s.clearSuspects(ctx) })
	g.Go(func() error {
		<-ctx.Done()
		s.unlisten()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
		defer cancel()
		return errors.Join(rpc.Shutdown(grace), s.watcher.Close())
	})
	err = g.Wait()
	s.conns.close()
	s.home.close()
	if errors.Is(err, context.Canceled) || errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}
