package bgp

import (
	"encoding/binary"
	"iter"
	"net/netip"
	"slices"
	"time"

	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"

	"github.com/podroute/podroute/bgp/bmp"
)

// said are the attributes of an UPDATE as bytes, kept while somebody may have to be told of them later.
type said struct {
	at    time.Time
	attrs []byte // but MP_REACH_NLRI and MP_UNREACH_NLRI
	hops  []byte // the next hops of MP_REACH_NLRI; nil: there was none
	fam   Family // of MP_REACH_NLRI; 0: of any
}

// saidOf are the attributes of an UPDATE.
func saidOf(u received, at time.Time) *said {
	s := &said{at: at}
	for _, a := range u.attrs {
		switch a := a.(type) {
		case *gobgp.PathAttributeMpReachNLRI:
			s.fam, _ = familyFrom(gobgp.NewFamily(a.AFI, a.SAFI))
			for _, h := range []netip.Addr{a.Nexthop, a.LinkLocalNexthop} {
				if h.IsValid() {
					s.hops = append(s.hops, h.AsSlice()...)
				}
			}
		case *gobgp.PathAttributeMpUnreachNLRI:
		default:
			if b, err := a.Serialize(); err == nil { // it was read from bytes
				s.attrs = append(s.attrs, b...)
			}
		}
	}
	return s
}

// said is an offer from before anybody was to be told of it, as far as it was kept.
func (o *offer) said(n *neighbour) *said {
	var path []gobgp.AsPathParamInterface
	if len(o.path) > 0 {
		path = append(path, gobgp.NewAs4PathParam(gobgp.BGP_ASPATH_ATTR_TYPE_SEQ, o.path))
	}
	attrs := []gobgp.PathAttributeInterface{gobgp.NewPathAttributeOrigin(o.origin), gobgp.NewPathAttributeAsPath(path)}
	if a, err := gobgp.NewPathAttributeNextHop(o.hop); err == nil && o.hop.Is4() {
		attrs = append(attrs, a)
	}
	if o.priced {
		attrs = append(attrs, gobgp.NewPathAttributeMultiExitDisc(o.med))
	}
	if n.internal {
		attrs = append(attrs, gobgp.NewPathAttributeLocalPref(o.localPref))
	}
	if len(o.communities) > 0 {
		attrs = append(attrs, gobgp.NewPathAttributeCommunities(o.communities))
	}
	if len(o.large) > 0 {
		var large []*gobgp.LargeCommunity
		for _, c := range o.large {
			large = append(large, &gobgp.LargeCommunity{ASN: c[0], LocalData1: c[1], LocalData2: c[2]})
		}
		attrs = append(attrs, gobgp.NewPathAttributeLargeCommunities(large))
	}
	s := saidOf(received{attrs: attrs}, time.Time{})
	if o.hop.Is6() {
		s.hops = o.hop.WithZone("").AsSlice()
	}
	return s
}

// chapter is all that a neighbour has said of one family with the same attributes.
type chapter struct {
	*said
	family   Family
	paths    bool // the prefixes have path identifiers
	prefixes []identifiedPrefix
}

type identifiedPrefix struct {
	netip.Prefix
	id uint32
}

// mostOfUpdate is the size of an UPDATE (RFC 4271 section 4.1).
const mostOfUpdate = 4096

// updates are UPDATE messages that say it.
func (c *chapter) updates() [][]byte {
	multi := c.family == IPv6 || c.hops != nil && c.fam != IPv6
	room := mostOfUpdate - 23 - len(c.attrs) - 21 // one more prefix
	if multi {
		room -= 9 + len(c.hops)
	}
	var out [][]byte
	var nlri []byte
	for i, p := range c.prefixes {
		if c.paths {
			nlri = binary.BigEndian.AppendUint32(nlri, p.id)
		}
		nlri = append(nlri, byte(p.Bits()))
		nlri = append(nlri, p.Addr().AsSlice()[:(p.Bits()+7)/8]...)
		if len(nlri) <= room && i < len(c.prefixes)-1 {
			continue
		}
		if multi {
			out = append(out, updateMessage(slices.Concat(c.attrs, reach(c.family, c.hops, nlri)), nil))
		} else {
			out = append(out, updateMessage(c.attrs, nlri))
		}
		nlri = nil
	}
	return out
}

// reach is an MP_REACH_NLRI (RFC 4760 section 3).
func reach(fam Family, hops, nlri []byte) []byte {
	value := slices.Concat([]byte{0, byte(fam), 1, byte(len(hops))}, hops, []byte{0}, nlri)
	return append(binary.BigEndian.AppendUint16([]byte{0x90, 14}, uint16(len(value))), value...)
}

// updateMessage is an UPDATE message (RFC 4271 section 4.3).
func updateMessage(attrs, nlri []byte) []byte {
	b := make([]byte, 0, 23+len(attrs)+len(nlri))
	for range 16 {
		b = append(b, 0xff)
	}
	b = binary.BigEndian.AppendUint16(b, uint16(cap(b)))
	b = append(b, gobgp.BGP_MSG_UPDATE, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(len(attrs)))
	return append(append(b, attrs...), nlri...)
}

// part is one neighbour's part of a story.
type part struct {
	who      introduction
	chapters map[saying]*chapter
	order    []*chapter
	ended    []Family
}

// saying is what was said of a family.
type saying struct {
	said   *said
	family Family
}

func (p *part) add(what *said, prefix identifiedPrefix) {
	key := saying{what, familyOf(prefix.Addr())}
	ch := p.chapters[key]
	if ch == nil {
		ch = &chapter{said: what, family: key.family, paths: p.who.paths[key.family-IPv4]}
		p.chapters[key], p.order = ch, append(p.order, ch)
	}
	ch.prefixes = append(ch.prefixes, prefix)
}

// story is how things stand with neighbours that are introduced. What it yields later needs no lock.
func (t *table) story(of []*neighbour) iter.Seq[[]byte] {
	parts, byPeer := make([]*part, len(of)), map[*neighbour]*part{}
	some := false
	for i, n := range of {
		p := &part{who: n.introduced, chapters: map[saying]*chapter{}}
		for f, session := range n.ended {
			if session == n.session {
				p.ended = append(p.ended, IPv4+Family(f))
			}
		}
		parts[i], byPeer[n] = p, p
		some = some || !n.empty()
	}
	if some {
		t.fill(byPeer)
	}
	return func(yield func([]byte) bool) {
		for _, p := range parts {
			if !p.tell(yield) {
				return
			}
		}
	}
}

// fill adds what neighbours have said in their sessions.
func (t *table) fill(byPeer map[*neighbour]*part) {
	made := map[*offer]*said{}
	for r := range t.routes.All() {
		for _, c := range r.paths {
			p := byPeer[c.from]
			if p == nil || c.session != c.from.session {
				continue
			}
			if c.said == nil && made[c.with] == nil {
				made[c.with] = c.with.said(c.from)
			}
			if c.said == nil {
				c.said = made[c.with]
			}
			p.add(c.said, identifiedPrefix{r.prefix, c.id})
		}
	}
}

func (p *part) tell(yield func([]byte) bool) bool {
	if !yield(p.who.up) {
		return false
	}
	for _, ch := range p.order {
		for _, u := range ch.updates() {
			if !yield(bmp.RouteMonitoring(p.who.peer, ch.at, u)) {
				return false
			}
		}
	}
	for _, fam := range p.ended {
		b, err := gobgp.NewEndOfRib(fam.gobgp()).Serialize()
		if err == nil && !yield(bmp.RouteMonitoring(p.who.peer, time.Now(), b)) {
			return false
		}
	}
	return true
}
