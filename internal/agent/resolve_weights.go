package agent

import "github.com/podroute/podroute/routes"

// sideBySide are the next hops that BGP has named, each found as a list of routers with weights: each gets as much as any
// other, however many routers lead to it. Weights are 1 to 256, but 0 where all are alike.
func sideBySide(found [][]routes.NextHop) []routes.NextHop {
	var out []routes.NextHop
	divisor := 0
	for _, hops := range found {
		sum := 0
		for _, h := range hops {
			sum += max(h.Weight, 1)
		}
		for _, h := range hops {
			h.Weight = max(max(h.Weight, 1)*fullWeight/sum, 1)
			divisor = common(h.Weight, divisor)
			out = append(out, h)
		}
	}
	alike := true
	for i := range out {
		out[i].Weight /= divisor
		alike = alike && out[i].Weight == 1
	}
	for i := range out {
		if alike {
			out[i].Weight = 0
		}
	}
	return out
}

// outlasting are next hops and, with as little weight as can be beside them, those that are leaving.
func outlasting(hops []routes.NextHop, leaving [][]routes.NextHop) []routes.NextHop {
	var out []routes.NextHop
	most := 1
	for _, h := range hops {
		most = max(most, h.Weight)
	}
	for _, h := range hops {
		h.Weight = max(max(h.Weight, 1)*fullWeight/most, 1)
		out = append(out, h)
	}
	for _, l := range leaving {
		for _, h := range l {
			h.Weight = 1
			out = append(out, h)
		}
	}
	return out
}

// common is the greatest common divisor; that of a and 0 is a.
func common(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
