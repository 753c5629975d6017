package bgp

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

const (
	defaultPort        = 179
	defaultDeferral    = 10 * time.Second
	defaultHold        = 90 * time.Second
	defaultRestartTime = 120 * time.Second
	maxPassword        = 80 // bytes, TCP_MD5SIG_MAXKEYLEN
)

// checked is a copy of c with defaults filled in, addresses in one form, and without the peers and
// paths that are wrong, which the error names one by one. It is unusable when the error is fatal.
func (c Config) checked() (out Config, errs []error, fatal error) {
	if c.AS == 0 || c.AS == 4294967295 || c.AS == 23456 {
		return c, nil, fmt.Errorf("AS number %d is reserved: use 1 to 4294967294, but not 23456", c.AS)
	}
	if !c.RouterID.Is4() || c.RouterID.IsUnspecified() {
		return c, nil, fmt.Errorf("router ID %v is not an IPv4 address: set the annotation podroute.io/router-id", c.RouterID)
	}
	if c.ListenPort == 0 {
		c.ListenPort = defaultPort
	}
	c.MaxPaths = max(c.MaxPaths, 1)
	if c.Deferral <= 0 {
		c.Deferral = defaultDeferral
	}
	if !c.ClusterID.IsValid() {
		c.ClusterID = c.RouterID
	}
	c.Peers, errs = checkedPeers(c.Peers)
	ranges, rangeErrs := checkedRanges(c.Ranges, c.ListenPort > 0)
	c.Ranges, errs = ranges, append(errs, rangeErrs...)
	paths, pathErrs := checkedPaths(c.Paths)
	c.Paths = paths
	return c, append(errs, pathErrs...), nil
}

func checkedPeers(in []Peer) (out []Peer, errs []error) {
	names, addrs := map[string]bool{}, map[netip.Addr]string{}
	for _, p := range in {
		p = p.withDefaults()
		err := p.check()
		switch other, taken := addrs[p.Address]; {
		case err != nil:
		case p.Name == "" || names[p.Name]:
			err = errors.New("its name is empty or that of another peer: rename one")
		case taken:
			err = fmt.Errorf("address %v is that of peer %s too: remove one of them", p.Address, other)
		}
		if err != nil {
			errs = append(errs, &PeerError{Peer: p.Name, Err: err})
			continue
		}
		names[p.Name], addrs[p.Address] = true, p.Name
		out = append(out, p)
	}
	return out, errs
}

func (p Peer) withDefaults() Peer {
	p.Address, p.Local = p.Address.Unmap(), p.Local.Unmap()
	if p.Port == 0 {
		p.Port = defaultPort
	}
	if p.Hold == 0 {
		p.Hold = defaultHold
	}
	if p.Keepalive == 0 {
		p.Keepalive = p.Hold / 3
	}
	if p.RestartTime == 0 {
		p.RestartTime = defaultRestartTime
	}
	if p.WarnAt == 0 {
		p.WarnAt = defaultWarnAt
	}
	if p.Retry == 0 {
		p.Retry = defaultRetry
	}
	fams := slices.Clone(p.families())
	slices.Sort(fams)
	p.Families = slices.Compact(fams)
	return p
}

// check says what is wrong with a peer, after withDefaults.
func (p Peer) check() error {
	switch {
	case !p.Address.IsValid() || p.Address.IsUnspecified():
		return errors.New("it has no address yet")
	case p.Address.IsMulticast():
		return fmt.Errorf("address %v is a multicast address", p.Address)
	case p.Address.IsLinkLocalUnicast() && p.Address.Is6() && p.Address.Zone() == "":
		return fmt.Errorf("link-local address %v needs its interface: write %v%%eth0", p.Address, p.Address)
	case p.Local.IsValid() && p.Local.Is4() != p.Address.Is4():
		return fmt.Errorf("source address %v and address %v are of different families", p.Local, p.Address)
	case p.External && p.AS != 0:
		return fmt.Errorf("AS number %d is given, and external, which takes any: remove one", p.AS)
	case !p.External && p.AS == 0 || p.AS == 4294967295:
		return fmt.Errorf("AS number %d is reserved: use 1 to 4294967294", p.AS)
	case len(p.Password) > maxPassword:
		return fmt.Errorf("the password has %d bytes: TCP MD5 takes at most %d", len(p.Password), maxPassword)
	case p.MultihopTTL != 0 && p.TTLSecurity != 0:
		return errors.New("multihop and TTL security exclude each other: remove one")
	case p.MultihopTTL < 0 || p.MultihopTTL > 255 || p.TTLSecurity < 0 || p.TTLSecurity > 254:
		return errors.New("multihop takes a TTL of 1 to 255, TTL security 1 to 254 hops")
	case p.Hold < 3*time.Second || p.Hold > 65535*time.Second:
		return fmt.Errorf("hold time %v: use 3s to 65535s (RFC 4271 section 4.2)", p.Hold)
	case p.RestartTime < time.Second || p.RestartTime > 4095*time.Second:
		return fmt.Errorf("restart time %v: use 1s to 4095s (RFC 4724 section 3)", p.RestartTime)
	case p.LongLived < 0 || p.LongLived >= 1<<24*time.Second:
		return fmt.Errorf("long-lived stale time %v: use 0s to 16777215s (RFC 9494 section 3)", p.LongLived)
	case p.AllowOwnAS < 0 || p.AllowOwnAS > 10:
		return fmt.Errorf("allowOwnAS %d: use 0 to 10", p.AllowOwnAS)
	case p.WarnAt < 1 || p.WarnAt > 100:
		return fmt.Errorf("warning at %d %% of the bound: use 1 to 100", p.WarnAt)
	case p.Port < 1 || p.Port > 65535:
		return fmt.Errorf("port %d: use 1 to 65535", p.Port)
	}
	for _, f := range []Filter{p.Import, p.Export} {
		if err := f.check(); err != nil {
			return err
		}
	}
	for fam, nh := range p.NextHops {
		if familyOf(nh) != fam && fam != IPv4 { // IPv4 over an IPv6 next hop is RFC 8950
			return fmt.Errorf("next hop %v cannot serve %v", nh, fam)
		}
	}
	return nil
}

func checkedPaths(in []Path) (out []Path, errs []error) {
	for _, p := range in {
		if err := p.check(); err != nil {
			errs = append(errs, &PathError{Prefix: p.Prefix, Err: err})
			continue
		}
		p.Prefix = p.Prefix.Masked()
		out = append(out, p)
	}
	return out, errs
}

func (p Path) check() error {
	if !p.Prefix.IsValid() || p.Prefix.Addr().Is4In6() {
		return errors.New("not an IPv4 or IPv6 prefix")
	}
	if p.NextHop.IsValid() && p.NextHop.Is4() != p.Prefix.Addr().Is4() {
		return fmt.Errorf("next hop %v is not of the prefix's family", p.NextHop)
	}
	if p.LocalPref != nil && *p.LocalPref == 0 {
		return errors.New("local preference 0 cannot be expressed: use 1")
	}
	if p.Prepend < 0 || p.Prepend > 64 {
		return fmt.Errorf("prepend %d: use 0 to 64", p.Prepend)
	}
	for _, c := range p.Communities {
		if _, _, err := parseCommunity(c); err != nil {
			return err
		}
	}
	return nil
}

// withoutNextHop names the families of a session that have no next hop of their own family: nothing is
// announced in those (RFC 4271 section 5.1.3: a next hop must be reachable).
func (p Peer) withoutNextHop() []Family {
	var out []Family
	for _, fam := range p.Families {
		if _, ok := p.NextHops[fam]; !ok && fam == IPv6 && p.Address.Is4() {
			out = append(out, fam)
		}
	}
	return out
}

// parseCommunity reads "64512:100", a well-known name, or a large community "1:2:3".
func parseCommunity(s string) (text string, large bool, err error) {
	if v, ok := wellKnown(s); ok {
		return fmt.Sprintf("%d:%d", v>>16, v&0xffff), false, nil
	}
	parts := strings.Split(s, ":")
	bits := map[int]uint64{2: 65535, 3: 4294967295}[len(parts)]
	if bits == 0 {
		return "", false, fmt.Errorf(`community %q is none: use "64512:100", "1:2:3" or a well-known name`, s)
	}
	nums := make([]string, len(parts))
	for i, part := range parts {
		var n uint64
		if _, err := fmt.Sscanf(part, "%d", &n); err != nil || fmt.Sprint(n) != part || n > bits {
			return "", false, fmt.Errorf("community %q: %q is not a number from 0 to %d", s, part, bits)
		}
		nums[i] = part
	}
	return strings.Join(nums, ":"), len(parts) == 3, nil
}

// wellKnown are the communities with names in IANA's registry that a node has a use for.
func wellKnown(name string) (uint32, bool) {
	switch strings.ToLower(strings.ReplaceAll(name, "_", "-")) {
	case "graceful-shutdown": // RFC 8326
		return 0xffff0000, true
	case "accept-own": // RFC 7611
		return 0xffff0001, true
	case "llgr-stale": // RFC 9494
		return 0xffff0006, true
	case "no-llgr":
		return 0xffff0007, true
	case "blackhole": // RFC 7999
		return 0xffff029a, true
	case "no-export": // RFC 1997
		return 0xffffff01, true
	case "no-advertise":
		return 0xffffff02, true
	case "no-export-subconfed":
		return 0xffffff03, true
	case "no-peer": // RFC 3765
		return 0xffffff04, true
	}
	return 0, false
}
