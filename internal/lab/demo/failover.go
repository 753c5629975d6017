package demo

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// failoverLimit is the longest gap, in milliseconds, that a cut uplink may cause.
const failoverLimit = 100

// Cut is what one cut of an uplink did: the longest gap in milliseconds, and packets. End is where the
// port was shut down: the other end only loses the carrier.
type Cut struct {
	End        string  `json:"end"`
	LongestGap float64 `json:"longest_gap_ms"`
	Sent       int     `json:"sent"`
	Lost       int     `json:"lost"`
}

// Cuts of Failover. P95 is the 95th percentile of the longest gaps, in milliseconds.
type Cuts struct {
	Pass   bool    `json:"pass"`
	Router string  `json:"router"`
	Cuts   []Cut   `json:"cuts"`
	P95    float64 `json:"p95_ms"`
	Limit  float64 `json:"limit_ms"`
}

// Failover cuts an uplink of the dual-homed node many times, at its two ends in turns, restoring it in
// between, with pings in both directions and of both families. It takes some seconds a cut.
func Failover(ctx context.Context, o Options, times int) (c Cuts, err error) {
	c = Cuts{Router: o.Router, Limit: failoverLimit, Cuts: []Cut{}}
	r := &Report{}
	f, err := up(ctx, o, r)
	if f != nil {
		defer func() {
			f.finish(ctx, o, r)
			if err == nil && len(r.Failures) > 0 {
				err = fmt.Errorf("%s", r.Failures[0])
			}
		}()
	}
	if err != nil {
		return c, err
	}
	for i := range times {
		name := fmt.Sprintf("cut %d of %d", i+1, times)
		err := o.stages(ctx, r, []stage{{name, func(ctx context.Context, _ *Report) (string, error) {
			cut, err := f.cutOnce(ctx, []string{"tor1", "n2"}[i%2])
			if err != nil {
				return "", err
			}
			c.Cuts = append(c.Cuts, cut)
			return fmt.Sprintf("at %s: longest gap %.0f ms, %d of %d lost", cut.End, cut.LongestGap, cut.Lost, cut.Sent), nil
		}}})
		if err != nil {
			return c, err
		}
	}
	c.P95 = percentile(c.Cuts, 95)
	c.Pass = len(c.Cuts) == times && c.P95 < failoverLimit
	return c, nil
}

// cutOnce measures one cut, made at one end of the link, and restores the link.
func (f *fleet) cutOnce(ctx context.Context, end string) (Cut, error) {
	e, err := f.suffer(ctx, damage{
		a: "n1-a", b: "n2-a", both: true, ok: func(Event) bool { return true },
		do: func(ctx context.Context) error { return f.cutUplink(ctx, end) },
	})
	if err != nil {
		return Cut{}, err
	}
	return Cut{End: end, LongestGap: e.LongestGap, Sent: e.Sent, Lost: e.Lost}, nil
}

// direct is nil when tor1 sends to n2's pods over its own link again: only then does a cut hurt.
func (f *fleet) direct(ctx context.Context) error {
	port, err := f.uplinkPort("tor1")
	if err != nil {
		return err
	}
	for _, subnet := range f.facts["n2"].subnets {
		family := "-4"
		if subnet.Addr().Is6() {
			family = "-6"
		}
		out, err := f.lab.Run(ctx, "tor1", "ip", family, "-o", "route", "get", subnet.Addr().Next().String())
		if err != nil {
			return err
		}
		if !slices.Contains(strings.Fields(out), port) {
			return fmt.Errorf("tor1 does not send to %v over %s yet: %s", subnet, port, out)
		}
	}
	return nil
}

// percentile is by the nearest rank: of 20, the 95th is the 19th in order.
func percentile(cuts []Cut, percent int) float64 {
	if len(cuts) == 0 {
		return 0
	}
	gaps := make([]float64, len(cuts))
	for i, c := range cuts {
		gaps[i] = c.LongestGap
	}
	slices.Sort(gaps)
	rank := (len(gaps)*percent + 99) / 100
	return gaps[rank-1]
}
