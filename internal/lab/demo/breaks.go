package demo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/podroute/podroute/internal/lab/demo/probe"
)

// damage is something to break, and to mend, while pings run between two pods.
type damage struct {
	name  string
	a, b  string // pods that ping each other
	both  bool   // each over both families; otherwise a over IPv4 and b over IPv6
	do    func(context.Context) error
	ok    func(Event) bool
	limit string
	// often: the promise is one of milliseconds, about most of many times. What misses it is tried twice
	// more, and the median counts.
	often bool
}

// settle is how long pings run before something is done, and after all is well again.
const (
	settle     = 400 * time.Millisecond
	afterwards = time.Second
)

func (f *fleet) breaks() []damage {
	atMostOne := func(e Event) bool { return e.Lost <= 1 }
	underLimit := func(e Event) bool { return e.LongestGap < failoverLimit }
	measured := func(Event) bool { return true }
	routed := f.routers
	if routed == "frr" {
		routed = "zebra and bgpd"
	}
	return []damage{
		{
			name: "agent of n1 killed (SIGKILL), started again", a: "n1-a", b: "n3-a",
			do: func(ctx context.Context) error { return f.restart(ctx, "n1", unix.SIGKILL) },
			ok: atMostOne, limit: "at most 1 lost",
		},
		{
			name: "agent of n1 stopped (SIGTERM), started again", a: "n1-a", b: "n3-a",
			do: func(ctx context.Context) error { return f.restart(ctx, "n1", unix.SIGTERM) },
			ok: atMostOne, limit: "at most 1 lost",
		},
		{
			name: "uplink of n2 to tor1 cut, restored", a: "n1-a", b: "n2-a", both: true,
			do: func(ctx context.Context) error { return f.cutUplink(ctx, "tor1") },
			ok: underLimit, limit: fmt.Sprintf("gap under %d ms", failoverLimit), often: true,
		},
		{
			name: "tor1 restarted (" + routed + " killed, started again)", a: "n1-a", b: "n3-a",
			do: f.restartTor,
			ok: measured, limit: "as measured",
		},
		{
			name: "routes of n1 deleted by hand", a: "n1-a", b: "n3-a",
			do: f.deleteRoutes,
			ok: atMostOne, limit: "at most 1 lost", often: true,
		},
	}
}

// judge suffers a damage, as often as it takes to judge it.
func (f *fleet) judge(ctx context.Context, d damage) (Event, error) {
	e, err := f.suffer(ctx, d)
	if err != nil || e.ok || !d.often {
		return e, err
	}
	events := []Event{e}
	for range 2 {
		e, err := f.suffer(ctx, d)
		if err != nil {
			return e, err
		}
		events = append(events, e)
	}
	slices.SortFunc(events, func(a, b Event) int { return cmp.Compare(a.LongestGap, b.LongestGap) })
	return events[1], nil
}

// suffer runs a damage under pings and counts.
func (f *fleet) suffer(ctx context.Context, d damage) (Event, error) {
	e := Event{Name: d.name, limit: d.limit}
	flows := f.pingFlows(d)
	stop, err := f.startPings(ctx, flows)
	if err != nil {
		return e, err
	}
	err = pause(ctx, settle)
	if err == nil {
		err = d.do(ctx)
	}
	if err == nil {
		err = pause(ctx, afterwards)
	}
	tallies, serr := stop()
	if err != nil || serr != nil {
		return e, first(err, serr)
	}
	for _, t := range tallies {
		e.Sent += t.Sent
		e.Lost += t.Lost
		e.LongestGap = max(e.LongestGap, float64(t.Gap.Microseconds())/1000)
	}
	e.ok = d.ok(e)
	return e, nil
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// pause is time that a ping is given to run; it measures, it does not wait for anything.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ping is a flow and the node whose probe runs it.
type ping struct {
	node string
	flow probe.Flow
}

// pingFlows are spread over the 10 ms between two probes of one flow, so that a hole shorter than
// their distance costs one packet at most.
func (f *fleet) pingFlows(d damage) []ping {
	type direction struct {
		from, to string
		is4      bool
	}
	all := []direction{{d.a, d.b, true}, {d.b, d.a, false}}
	if d.both {
		all = append(all, direction{d.a, d.b, false}, direction{d.b, d.a, true})
	}
	var out []ping
	for i, x := range all {
		from, to := f.pod(x.from), f.pod(x.to)
		out = append(out, ping{from.node, probe.Flow{
			ID:   fmt.Sprintf("%s %s %s", x.from, x.to, familyName(x.is4)),
			From: x.from, To: ofFamily(to.addresses, x.is4),
			Phase: time.Duration(i) * 10 * time.Millisecond / time.Duration(len(all)),
		}})
	}
	return out
}

func (f *fleet) pod(name string) pod {
	for _, p := range f.pods {
		if p.name == name {
			return p
		}
	}
	return pod{}
}

// startPings starts all; stop ends all and returns their tallies in order.
func (f *fleet) startPings(ctx context.Context, flows []ping) (stop func() ([]probe.Tally, error), err error) {
	for _, p := range flows {
		if err := f.probes[p.node].PingStart(ctx, p.flow); err != nil {
			return nil, fmt.Errorf("ping %s: %w", p.flow.ID, err)
		}
	}
	return func() ([]probe.Tally, error) {
		tallies := make([]probe.Tally, len(flows))
		for i, p := range flows {
			t, err := f.probes[p.node].PingStop(ctx, p.flow.ID)
			if err != nil {
				return nil, fmt.Errorf("ping %s: %w", p.flow.ID, err)
			}
			tallies[i] = t
		}
		return tallies, nil
	}, nil
}

// restart ends a node's agent, leaves it dead for a moment, and starts it again.
func (f *fleet) restart(ctx context.Context, node string, sig unix.Signal) error {
	before, err := f.sessions(ctx, node)
	if err != nil {
		return err
	}
	if err := f.lab.Signal(ctx, node, sig, true); err != nil {
		return err
	}
	if err := pause(ctx, settle); err != nil {
		return err
	}
	if err := f.lab.Start(ctx, node); err != nil {
		return err
	}
	return until(ctx, func(ctx context.Context) error { return f.back(ctx, node, before) })
}

// restartTor kills tor1's routing process, its kernel routes staying where they are, and starts it
// again; all is well when its nodes have new sessions with it, and everybody all routes.
func (f *fleet) restartTor(ctx context.Context) error {
	const tor = "tor1"
	nodes := []string{"n1", "n2"}
	before := map[string]map[string]session{}
	for _, n := range nodes {
		all, err := f.sessions(ctx, n)
		if err != nil {
			return err
		}
		before[n] = all
	}
	if err := f.lab.Signal(ctx, tor, unix.SIGKILL, true); err != nil {
		return err
	}
	if err := f.lab.Start(ctx, tor); err != nil {
		return err
	}
	return until(ctx, func(ctx context.Context) error {
		for _, n := range nodes {
			now, err := f.sessions(ctx, n)
			if err != nil {
				return err
			}
			if name := n + "-" + tor; now[name].Flaps <= before[n][name].Flaps {
				return fmt.Errorf("%s has not noticed yet", n)
			}
			if err := f.back(ctx, n, before[n]); err != nil {
				return err
			}
		}
		return f.converged(ctx)
	})
}

// cutUplink takes the carrier from n2's link to tor1 by shutting down the port at one end, tor1 or n2,
// gives the network a moment to move, opens the port again, and waits until all is as before.
func (f *fleet) cutUplink(ctx context.Context, end string) error {
	before, err := f.sessions(ctx, "n2")
	if err != nil {
		return err
	}
	port, err := f.uplinkPort(end)
	if err != nil {
		return err
	}
	if _, err := f.lab.Run(ctx, end, "ip", "link", "set", port, "down"); err != nil {
		return err
	}
	if err := pause(ctx, afterwards); err != nil {
		return err
	}
	if _, err := f.lab.Run(ctx, end, "ip", "link", "set", port, "up"); err != nil {
		return err
	}
	return until(ctx, func(ctx context.Context) error {
		if err := f.back(ctx, "n2", before); err != nil {
			return err
		}
		return f.direct(ctx) // or another cut would hurt nobody
	})
}

// uplinkPort is the interface of tor1 or n2 at its end of the link between them.
func (f *fleet) uplinkPort(end string) (string, error) {
	for _, l := range f.lab.Topology().Links {
		if l.A.Node == "tor1" && l.B.Node == "n2" {
			if end == l.A.Node {
				return l.A.Interface, nil
			}
			return l.B.Interface, nil
		}
	}
	return "", errors.New("the topology has no link from tor1 to n2")
}

// protocol marks the agent's routes in the kernel.
const protocol = 179

// deleteRoutes deletes all of the agent's routes on n1, and waits until they are back.
func (f *fleet) deleteRoutes(ctx context.Context) error {
	n, err := f.probes["n1"].DeleteRoutes(ctx, protocol)
	if err == nil && n == 0 {
		err = errors.New("there were none")
	}
	if err != nil {
		return err
	}
	return until(ctx, f.converged)
}
