package bgp

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"golang.org/x/sys/unix"
)

// Range is a set of addresses from which neighbours may call that are not known beforehand. Who does is named by Callers, and
// may then be made a Peer; its first call is hung up on.
type Range struct {
	// Name is unique among the ranges.
	Name string
	// Prefix of the addresses; an address in several belongs to the longest.
	Prefix netip.Prefix
	// Password with which calls are signed (RFC 2385); calls that are not signed are not heard then.
	Password string
	// Most is how many neighbours the range may have at a time.
	Most int
}

// Callers are the neighbours of a range.
type Callers struct {
	Addresses []netip.Addr // sorted
	// Full says that there were more than the range may have.
	Full bool
	// Unheard says that in the last minutes the kernel has dropped TCP segments, from whomever, that were not signed with the
	// range's password; or, where it has none, that were signed.
	Unheard bool
}

const (
	// answered is how long a caller may take until it has a session: its next call may be minutes away (ConnectRetryTime,
	// RFC 4271 section 10).
	answered = 5 * time.Minute
	// forgotten is how long a caller that had a session is remembered without one.
	forgotten = 10 * time.Second
	// sweepEvery is how often callers are looked at.
	sweepEvery = 2 * time.Second
	// RememberedFor is how long at most a caller is remembered that had a session and has left in order.
	RememberedFor = forgotten + sweepEvery
)

// callers are those who have called from the ranges.
type callers struct {
	log     *slog.Logger
	changed chan struct{}
	agenda  *agenda

	mu      sync.Mutex
	ranges  []Range
	known   map[netip.Addr]*caller
	full    map[string]bool
	earlier map[string][]netip.Addr // of an earlier life, until there are ranges
	drops   drops
}

// caller is one of them: the name of its range, when it called or was last there, and for how long it is waited for.
type caller struct {
	name     string
	seen     time.Time
	patience time.Duration
}

func newCallers(log *slog.Logger, a *agenda) *callers {
	return &callers{log: log, changed: make(chan struct{}, 1), agenda: a, known: map[netip.Addr]*caller{}, full: map[string]bool{}}
}

// Callers are the neighbours that have called from Config.Ranges, by the name of the range. One whose session
// has been lost for ten seconds is not among them any more.
func (s *Speaker) Callers() map[string]Callers { return s.callers.list() }

// CallersChanged signals that Callers would answer otherwise than before.
func (s *Speaker) CallersChanged() <-chan struct{} { return s.callers.changed }

// Remember makes the callers of an earlier life those of this one, as far as Config.Ranges have room for them. It is for
// before the first Set.
func (s *Speaker) Remember(earlier map[string][]netip.Addr) {
	s.callers.mu.Lock()
	defer s.callers.mu.Unlock()
	s.callers.earlier = earlier
}

func (k *callers) list() map[string]Callers {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := map[string]Callers{}
	for _, r := range k.ranges {
		c := Callers{Full: k.full[r.Name], Unheard: k.drops.lately(r.Password != "", time.Now())}
		for addr, x := range k.known {
			if x.name == r.Name {
				c.Addresses = append(c.Addresses, addr)
			}
		}
		slices.SortFunc(c.Addresses, netip.Addr.Compare)
		out[r.Name] = c
	}
	return out
}

// waiting says whether neighbours may call that are not known.
func (k *callers) waiting() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.ranges) > 0
}

// forget is for listeners that are new and have no keys.
func (k *callers) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ranges = nil
}

// of is the range that an address belongs to.
func (k *callers) of(addr netip.Addr) (Range, bool) {
	best := -1
	for i, r := range k.ranges {
		if r.Prefix.Contains(addr.WithZone("")) && (best < 0 || r.Prefix.Bits() > k.ranges[best].Prefix.Bits()) {
			best = i
		}
	}
	if best < 0 {
		return Range{}, false
	}
	return k.ranges[best], true
}

// called notes a call of somebody who is not configured.
func (k *callers) called(addr netip.Addr) {
	k.mu.Lock()
	defer k.mu.Unlock()
	r, ok := k.of(addr)
	if !ok {
		return
	}
	if x := k.known[addr]; x != nil {
		x.seen = time.Now()
		return
	}
	if n := k.count(r); n >= r.Most {
		if !k.full[r.Name] {
			k.full[r.Name] = true
			k.log.Warn("a neighbour called that is one too many", "peer", r.Name, "address", addr, "neighbours", n)
			signal(k.changed)
		}
		return
	}
	k.add(r, addr)
	k.log.Info("a neighbour has called", "peer", r.Name, "address", addr)
}

func (k *callers) add(r Range, addr netip.Addr) {
	k.known[addr] = &caller{r.Name, time.Now(), answered}
	k.agenda.set(netip.Addr{}, sweep, time.Now().Add(sweepEvery))
	signal(k.changed)
}

// count is how many neighbours a range has.
func (k *callers) count(r Range) (n int) {
	for _, x := range k.known {
		if x.name == r.Name {
			n++
		}
	}
	return n
}

// remember takes over what an earlier life knew.
func (k *callers) remember() {
	for _, r := range k.ranges {
		for _, addr := range k.earlier[r.Name] {
			if o, ok := k.of(addr); ok && o.Name == r.Name && k.known[addr] == nil && k.count(r) < r.Most {
				k.add(r, addr)
			}
		}
	}
	if len(k.ranges) > 0 {
		k.earlier = nil
	}
}

// set says which ranges there are, and returns those whose keys are to go and to come.
func (k *callers) set(ranges []Range) (gone, added []Range) {
	k.mu.Lock()
	defer k.mu.Unlock()
	differ := func(from, other []Range) (out []Range) {
		for _, r := range from {
			same := func(o Range) bool { return o.Prefix == r.Prefix && o.Password == r.Password }
			if r.Password != "" && !slices.ContainsFunc(other, same) {
				out = append(out, r)
			}
		}
		return out
	}
	gone, added = differ(k.ranges, ranges), differ(ranges, k.ranges)
	if len(k.ranges) == 0 && len(ranges) > 0 {
		k.drops = drops{seen: droppedNow()}
		k.agenda.set(netip.Addr{}, sweep, time.Now().Add(sweepEvery))
	}
	most := map[string]int{}
	for _, r := range k.ranges {
		most[r.Name] = r.Most
	}
	k.ranges = slices.Clone(ranges)
	for addr, x := range k.known {
		if r, ok := k.of(addr); !ok || r.Name != x.name {
			delete(k.known, addr)
			signal(k.changed)
		}
	}
	k.remember()
	maps.DeleteFunc(k.full, func(name string, _ bool) bool {
		return !slices.ContainsFunc(ranges, func(r Range) bool { return r.Name == name && r.Most == most[name] })
	})
	return gone, added
}

// sweep forgets callers that have no session, and looks whether calls are dropped.
func (k *callers) sweep(there func(netip.Addr) (is, was bool)) {
	seen := droppedNow()
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	k.drops.look(seen, now)
	for addr, x := range k.known {
		is, was := there(addr)
		if was {
			x.patience = forgotten
		}
		switch {
		case is:
			x.seen = now
		case now.Sub(x.seen) > x.patience:
			delete(k.known, addr)
			delete(k.full, x.name)
			k.log.Info("a neighbour that had called is gone", "peer", x.name, "address", addr)
			signal(k.changed)
		}
	}
	if len(k.ranges) > 0 || len(k.known) > 0 {
		k.agenda.set(netip.Addr{}, sweep, now.Add(sweepEvery))
	}
}

// there says whether a neighbour has a session, or will be given one because its routes are kept or it is shut out; and
// whether it ever had one.
func (s *sessions) there(peer netip.Addr) (is, was bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.byAddr[peer]
	if x == nil {
		return false, false
	}
	is = x.state == gobgp.BGP_FSM_ESTABLISHED || x.stale || x.barred
	return is, is || x.flaps > 0
}

// checkedRanges leaves out the ranges that are wrong.
func checkedRanges(in []Range, listens bool) (out []Range, errs []error) {
	for _, r := range in {
		var err error
		switch same := func(o Range) bool { return o.Name == r.Name || o.Prefix == r.Prefix.Masked() }; {
		case !r.Prefix.IsValid() || r.Prefix.Addr().Is4In6():
			err = errors.New("not an IPv4 or IPv6 prefix")
		case r.Name == "" || slices.ContainsFunc(out, same):
			err = fmt.Errorf("its name or %v is that of another range: remove one", r.Prefix)
		case len(r.Password) > maxPassword:
			err = fmt.Errorf("the password has %d bytes: TCP MD5 takes at most %d", len(r.Password), maxPassword)
		case !listens:
			err = errors.New("nobody can call: set listenPort")
		}
		if err != nil {
			errs = append(errs, &PeerError{Peer: r.Name, Err: err})
			continue
		}
		r.Prefix = r.Prefix.Masked()
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b Range) int { return cmp.Compare(a.Name, b.Name) })
	return out, errs
}

// open has the listeners hear calls from the ranges: gobgp puts the keys of known neighbours on them only.
func (s *Speaker) open(c Config) []error {
	gone, added := s.callers.set(c.Ranges)
	if len(gone)+len(added) == 0 {
		return nil
	}
	var errs []error
	for _, fd := range listeners(c.ListenPort) {
		for _, r := range gone {
			if err := setRangeKey(fd, r.Prefix, ""); err != nil && !errors.Is(err, unix.ENOENT) {
				errs = append(errs, &PeerError{Peer: r.Name, Err: fmt.Errorf("remove the password of %v: %w", r.Prefix, err)})
			}
		}
		for _, r := range added {
			if err := setRangeKey(fd, r.Prefix, r.Password); err != nil {
				errs = append(errs, &PeerError{Peer: r.Name, Err: fmt.Errorf("set the password of %v: %w", r.Prefix, err)})
			}
		}
		_ = unix.Close(fd)
	}
	return errs
}

// listeners are duplicates of the sockets that listen on a port.
func listeners(port int) []int {
	var out []int
	eachDescriptor(func(fd int) (keep bool) {
		_, at, ok := endpoint(unix.Getsockname(fd))
		on, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
		if keep = err == nil && on == 1 && ok && at == port; keep {
			out = append(out, fd)
		}
		return keep
	})
	return out
}

// setRangeKey puts the TCP MD5 key of a prefix on a listener, or takes it off where the key is empty. A listener of the other
// family has no use for it.
func setRangeKey(fd int, prefix netip.Prefix, key string) error {
	if sa, err := unix.Getsockname(fd); err != nil {
		return err
	} else if _, is4 := sa.(*unix.SockaddrInet4); is4 != prefix.Addr().Is4() {
		return nil
	}
	sig := unix.TCPMD5Sig{Flags: unix.TCP_MD5SIG_FLAG_PREFIX, Prefixlen: uint8(prefix.Bits()), Keylen: uint16(len(key))}
	copy(sig.Key[:], key)
	if a := prefix.Addr(); a.Is4() {
		sig.Addr.Family = unix.AF_INET
		copy(sig.Addr.Data[2:], a.AsSlice())
	} else {
		sig.Addr.Family = unix.AF_INET6
		copy(sig.Addr.Data[6:], a.AsSlice())
	}
	return unix.SetsockoptTCPMD5Sig(fd, unix.IPPROTO_TCP, unix.TCP_MD5SIG_EXT, &sig)
}
