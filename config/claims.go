package config

import "net/netip"

// claims are prefixes and who has them, no two overlapping. Finding an overlap costs a look-up for each
// length in use, unless longer prefixes than the one asked for are there.
type claims struct {
	owners map[netip.Prefix]string
	counts map[int]int // claims by address length and prefix length, as lengthKey
}

func lengthKey(addrBits, bits int) int { return addrBits<<8 | bits }

// find returns a claim that overlaps p.
func (c *claims) find(p netip.Prefix) (claim netip.Prefix, owner string, found bool) {
	longer := false
	for bits := 0; bits <= p.Addr().BitLen(); bits++ {
		if c.counts[lengthKey(p.Addr().BitLen(), bits)] == 0 {
			continue
		}
		if bits > p.Bits() {
			longer = true
			break
		}
		wider, _ := p.Addr().Prefix(bits)
		if owner, taken := c.owners[wider]; taken {
			return wider, owner, true
		}
	}
	if longer { // of several inside p the lowest, so that messages do not vary
		for inside, by := range c.owners {
			if p.Overlaps(inside) && (!found || inside.Addr().Less(claim.Addr())) {
				claim, owner, found = inside, by, true
			}
		}
	}
	return claim, owner, found
}

// add makes a claim that find has not found taken.
func (c *claims) add(p netip.Prefix, owner string) {
	if c.owners == nil {
		c.owners, c.counts = map[netip.Prefix]string{}, map[int]int{}
	}
	c.owners[p] = owner
	c.counts[lengthKey(p.Addr().BitLen(), p.Bits())]++
}
