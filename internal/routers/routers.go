package routers

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
)

// Kind is a routing daemon.
type Kind string

// Kinds.
const (
	BIRD     Kind = "bird"
	FRR      Kind = "frr"
	GoBGP    Kind = "gobgpd"
	OpenBGPD Kind = "openbgpd"
)

// Kinds are all of them, for tests that try each.
func Kinds() []Kind { return []Kind{BIRD, FRR, GoBGP, OpenBGPD} }

// Config is what a router shall be.
type Config struct {
	AS       uint32
	RouterID netip.Addr
	// Neighbors that it peers with; routes learned from one are told to the others.
	Neighbors []Neighbor
	// Announce are prefixes of its own; it has no routes to them.
	Announce []netip.Prefix
	// Tags go with all that it announces of its own.
	Tags Tags
	// Multipath makes it use all equal paths.
	Multipath bool
	// ClusterID of a reflector (RFC 4456).
	ClusterID netip.Addr
	// HonourShutdown: GRACEFUL_SHUTDOWN means LOCAL_PREF 0 (RFC 8326), where the daemon has to be told. FRR has not.
	HonourShutdown bool
}

// Tags are attributes of announced routes.
type Tags struct {
	Communities []string // "65010:100"
	Large       []string // "65010:1:2"
	MED         uint32   // 0: none
	Prepend     int      // repetitions of its own AS
	LocalPref   uint32   // towards internal neighbours; 0: the daemon's default
}

// Attributes are those of a route as the router has it.
type Attributes struct {
	ASPath             []uint32
	Communities, Large []string
	LocalPref, MED     uint32
	// Originator and Clusters of a reflected route (RFC 4456 section 8).
	Originator netip.Addr
	Clusters   []netip.Addr
}

// Neighbor is a BGP session of both unicast families.
type Neighbor struct {
	Address netip.Addr // a link-local one carries its zone
	AS      uint32
	// Unnumbered: a daemon that finds neighbours on links by itself is told the zone of Address alone, and that
	// the AS number is another one than its own.
	Unnumbered bool
	// Local is the router's end of the session; LocalAS what it calls itself there, 0: Config.AS.
	Local   netip.Addr
	LocalAS uint32
	// OwnFamily: the session carries the family of its address only.
	OwnFamily bool
	// TTLSecurity (RFC 5082) for a neighbour on a link; Multihop is the TTL towards one that is further away.
	TTLSecurity bool
	Multihop    int
	// AddPath (RFC 7911) in both directions.
	AddPath bool
	// Password for TCP MD5; the router then also signs.
	Password string
	// Port of the neighbour; 0 means 179.
	Port int
	// Passive waits for the neighbour.
	Passive bool
	// Hold time in seconds; 0 means 90.
	Hold int
	// GracefulRestart in both roles, with RestartTime in seconds; 0 means 120.
	GracefulRestart bool
	RestartTime     int
	// LongLived (RFC 9494), with GracefulRestart, in seconds; 0: not.
	LongLived int
	// NextHop6 is the next hop of IPv6 routes over an IPv4 session, NextHop4 that of IPv4 routes over an IPv6
	// session, for daemons that do not find it themselves.
	NextHop6, NextHop4 netip.Addr
	// ExtendedNextHop allows IPv4 routes with IPv6 next hops (RFC 8950).
	ExtendedNextHop bool
	// BFD watches its liveness; nil does not. One set of timers serves all neighbours.
	BFD *BFD
	// ReflectorClient makes it a client (RFC 4456).
	ReflectorClient bool
	// NextHopSelf makes the router the next hop also of what internal neighbours have told it.
	NextHopSelf bool
	// OverrideAS takes the neighbour's own AS number out of the paths that it is told.
	OverrideAS bool
}

func (n Neighbor) hold() int {
	if n.Hold == 0 {
		return 90
	}
	return n.Hold
}

// carries says whether the session is for a family, "ipv4" or "ipv6".
func (n Neighbor) carries(fam string) bool {
	return !n.OwnFamily || n.Address.Is4() == (fam == "ipv4")
}

// is says whether the session is that with an address.
func (n Neighbor) is(a netip.Addr) bool { return n.Address.WithZone("") == a.WithZone("") }

func (n Neighbor) restartTime() int {
	if n.RestartTime == 0 {
		return 120
	}
	return n.RestartTime
}

// Route is what a router knows of a prefix.
type Route struct {
	// NextHops of the paths that it uses, sorted.
	NextHops []netip.Addr
}

// daemon is what differs between the kinds.
type daemon interface {
	// write puts the configuration into the directory.
	write(c Config) error
	// start runs what has not been started, restarting says that it takes over from one that was killed.
	start(restarting bool) ([]*nstest.Process, error)
	// apply makes a running daemon follow the configuration.
	apply(old, c Config) error
	// session is the state of a session, as the daemon calls it, and whether it is established.
	session(n Neighbor) (state string, up bool, err error)
	routes() (map[netip.Prefix]Route, error)
	// attributes are those of the route that the router uses.
	attributes(p netip.Prefix) (Attributes, error)
	// refresh asks a neighbour to send all its routes again; updates counts the routes or UPDATEs that have come.
	refresh(n Neighbor) error
	updates(n Neighbor) (int, error)
	// identity is who a neighbour says that it is.
	identity(n Neighbor) (Identity, error)
	// shutdown ends a session with Cease, Administrative Shutdown, and a message.
	shutdown(n Neighbor, message string) error
}

// Router is a running daemon.
type Router struct {
	t     testing.TB
	kind  Kind
	conf  Config
	d     daemon
	procs []*nstest.Process
	log   *output
}

// output gathers what the daemons print.
type output struct {
	mu sync.Mutex
	b  strings.Builder
}

// Write is for the daemons.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// Start runs a router in a namespace until the test ends.
func Start(t testing.TB, ns *nstest.NS, kind Kind, c Config) *Router {
	t.Helper()
	r := &Router{t: t, kind: kind, conf: c, log: &output{}}
	dir, err := runDir(t)
	if err != nil {
		t.Fatal(err)
	}
	base := base{ns: ns, dir: dir, log: r.log}
	switch kind {
	case BIRD:
		r.d = &bird{base: base}
	case FRR:
		r.d = &frr{base: base}
	case GoBGP:
		r.d = &gobgpd{base: base}
	case OpenBGPD:
		r.d = &openbgpd{base}
	default:
		t.Fatalf("unknown router %q", kind)
	}
	t.Cleanup(func() {
		r.stop()
		if t.Failed() {
			t.Logf("%s printed:\n%s", kind, r.log)
		}
	})
	if err := r.d.write(c); err != nil {
		t.Fatal(err)
	}
	r.start(false)
	return r
}

// runDir makes a directory for a daemon under /tmp: short, because paths of unix sockets are bounded at 107
// bytes, and open to all, because FRR's daemons give up root.
func runDir(t testing.TB) (string, error) {
	dir, err := os.MkdirTemp("/tmp", "router")
	if err != nil {
		return "", err
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir, os.Chmod(dir, 0o777)
}

func (r *Router) start(restarting bool) {
	r.t.Helper()
	procs, err := r.d.start(restarting)
	r.procs = append(r.procs, procs...)
	if err != nil {
		r.t.Fatalf("%s: %v\n%s", r.kind, err, r.log)
	}
}

func (r *Router) stop() {
	for _, p := range r.procs {
		p.Stop()
	}
	r.procs = nil
}

// Kind is the daemon.
func (r *Router) Kind() Kind { return r.kind }

// Kill ends the routing daemon with SIGKILL: its TCP connections close without a NOTIFICATION, and the
// kernel keeps its routes, as far as the daemon's helpers (FRR's zebra) let it.
func (r *Router) Kill() {
	r.t.Helper()
	last := r.procs[len(r.procs)-1]
	last.Stop()
	r.procs = r.procs[:len(r.procs)-1]
}

// Restart starts the daemon again after Kill, telling its neighbours that it has restarted where it can.
func (r *Router) Restart() {
	r.t.Helper()
	r.start(true)
}

// Rekey gives all sessions with a neighbour another password; not gobgpd.
func (r *Router) Rekey(neighbor netip.Addr, password string) {
	r.t.Helper()
	c := r.conf
	c.Neighbors = slices.Clone(c.Neighbors)
	for i := range c.Neighbors {
		if c.Neighbors[i].Address == neighbor {
			c.Neighbors[i].Password = password
		}
	}
	r.Set(c)
}

// Set makes the router follow another configuration without a restart. Only Announce and passwords may differ.
func (r *Router) Set(c Config) {
	r.t.Helper()
	if err := r.d.apply(r.conf, c); err != nil {
		r.t.Fatalf("%s: %v", r.kind, err)
	}
	r.conf = c
}

// Announce makes the router announce exactly these prefixes of its own.
func (r *Router) Announce(prefixes ...netip.Prefix) {
	r.t.Helper()
	c := r.conf
	c.Announce = prefixes
	r.Set(c)
}

// Established waits until all sessions are up.
func (r *Router) Established(d time.Duration) {
	r.t.Helper()
	nstest.Within(r.t, d, func() error {
		for _, n := range r.conf.Neighbors {
			state, up, err := r.d.session(n)
			if err != nil {
				return err
			}
			if !up {
				return fmt.Errorf("%s: session with %v is %s", r.kind, n.Address, state)
			}
		}
		return nil
	})
}

// Up says whether the session with a neighbour is established.
func (r *Router) Up(neighbor netip.Addr) (bool, error) {
	for _, n := range r.conf.Neighbors {
		if n.Address == neighbor {
			_, up, err := r.d.session(n)
			return up, err
		}
	}
	return false, fmt.Errorf("%s has no neighbour %v", r.kind, neighbor)
}

// Routes are the BGP routes that the router uses, of both families, its own included.
func (r *Router) Routes() (map[netip.Prefix]Route, error) { return r.d.routes() }

// Attributes are those of a route that the router uses.
func (r *Router) Attributes(p netip.Prefix) (Attributes, error) { return r.d.attributes(p) }

// Learns waits until the router uses a route through exactly these next hops; none: until it has no route.
func (r *Router) Learns(d time.Duration, prefix netip.Prefix, nextHops ...netip.Addr) {
	r.t.Helper()
	slices.SortFunc(nextHops, netip.Addr.Compare)
	nstest.Within(r.t, d, func() error {
		all, err := r.d.routes()
		if err != nil {
			return err
		}
		got, ok := all[prefix]
		if ok == (len(nextHops) > 0) && slices.Equal(got.NextHops, nextHops) {
			return nil
		}
		return fmt.Errorf("%s: route to %v is through %v, want %v", r.kind, prefix, got.NextHops, nextHops)
	})
}
