package routers

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/podroute/podroute/internal/nstest"
)

// Refresh asks a neighbour for its routes again (RFC 2918) and waits until they have come; not gobgpd.
func (r *Router) Refresh(d time.Duration, neighbor netip.Addr) {
	r.t.Helper()
	i := slices.IndexFunc(r.conf.Neighbors, func(n Neighbor) bool { return n.Address == neighbor })
	n := r.conf.Neighbors[i]
	before, err := r.d.updates(n)
	if err == nil {
		err = r.d.refresh(n)
	}
	if err != nil {
		r.t.Fatalf("%s: %v", r.kind, err)
	}
	nstest.Within(r.t, d, func() error {
		after, err := r.d.updates(n)
		if err == nil && after <= before {
			err = fmt.Errorf("%s: nothing came from %v after a refresh: %d updates", r.kind, neighbor, after)
		}
		return err
	})
}

// Updates counts the routes or UPDATEs, as the daemon counts, that have come from all neighbours.
func (r *Router) Updates() int {
	r.t.Helper()
	sum := 0
	for _, n := range r.conf.Neighbors {
		count, err := r.d.updates(n)
		if err != nil {
			r.t.Fatalf("%s: %v", r.kind, err)
		}
		sum += count
	}
	return sum
}

func (b *bird) refresh(n Neighbor) error {
	_, err := b.show("reload in " + b.protocol(n))
	return err
}

// protocol is the name of a neighbour's protocol.
func (b *bird) protocol(n Neighbor) string {
	for i, x := range b.conf.Neighbors {
		if x.Address == n.Address {
			return fmt.Sprintf("n%d", i)
		}
	}
	return ""
}

// updates reads the first number of the lines "Import updates: 3 0 0 0 3", and of those about withdrawals.
func (b *bird) updates(n Neighbor) (int, error) {
	out, err := b.show("show protocols all " + b.protocol(n))
	sum := 0
	for line := range strings.Lines(out) {
		for _, what := range []string{"Import updates:", "Import withdraws:"} {
			if _, rest, ok := strings.Cut(line, what); ok {
				sum += int(number(strings.Fields(rest)[0]))
			}
		}
	}
	return sum, err
}

// refresh: with soft-reconfiguration FRR would look at what it has kept.
func (f *frr) refresh(n Neighbor) error {
	cmds := []string{"configure terminal", fmt.Sprintf("router bgp %d", f.conf.AS)}
	for _, fam := range []string{"ipv4", "ipv6"} {
		cmds = append(cmds, "address-family "+fam+" unicast", "no neighbor "+zoneless(n)+" soft-reconfiguration inbound", "exit-address-family")
	}
	if _, err := f.vtysh("bgpd", cmds...); err != nil {
		return err
	}
	_, err := f.show("clear bgp " + zoneless(n) + " in")
	return err
}

func (f *frr) updates(n Neighbor) (int, error) {
	out, err := f.show("show bgp neighbors json")
	if err != nil {
		return 0, err
	}
	var all map[string]struct {
		MessageStats struct{ UpdatesRecv int }
	}
	// Beside the neighbours there are things of other shapes.
	var odd *json.UnmarshalTypeError
	if err := json.Unmarshal([]byte(out), &all); err != nil && !errors.As(err, &odd) {
		return 0, err
	}
	return all[zoneless(n)].MessageStats.UpdatesRecv, nil
}

func (o *openbgpd) refresh(n Neighbor) error {
	_, err := o.output("bgpctl", "-s", o.path("ctl"), "neighbor", n.Address.String(), "refresh")
	return err
}

func (o *openbgpd) updates(n Neighbor) (int, error) {
	out, err := o.bgpctl("show", "neighbor", n.Address.String())
	if err != nil {
		return 0, err
	}
	var all struct {
		Neighbors []struct {
			Stats struct {
				Update struct {
					Received struct {
						Updates int `json:"updates"`
					} `json:"received"`
				} `json:"update"`
			} `json:"stats"`
		} `json:"neighbors"`
	}
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		return 0, err
	}
	sum := 0
	for _, x := range all.Neighbors {
		sum += x.Stats.Update.Received.Updates
	}
	return sum, nil
}

func (g *gobgpd) refresh(Neighbor) error {
	return errors.New("gobgpd asks nobody: a soft reset looks at what it has kept")
}

func (g *gobgpd) updates(n Neighbor) (int, error) {
	out, err := g.gobgp("-j", "neighbor", n.Address.String())
	if err != nil {
		return 0, err
	}
	var one struct {
		State struct {
			Messages struct{ Received struct{ Update int } }
		}
	}
	if err := json.Unmarshal([]byte(out), &one); err != nil {
		return 0, fmt.Errorf("gobgp neighbor: %w", err)
	}
	return one.State.Messages.Received.Update, nil
}
