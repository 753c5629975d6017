package vip

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podroute/podroute/config"
)

const (
	v4 = config.FamilyIPv4
	v6 = config.FamilyIPv6
)

func addrs(texts ...string) (all []netip.Addr) {
	for _, t := range texts {
		all = append(all, netip.MustParseAddr(t))
	}
	return all
}

// pool for load balancers; change may be nil.
func pool(name, cidr string, change func(*config.AddressPoolSpec)) config.AddressPool {
	p := config.AddressPool{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: config.AddressPoolSpec{CIDR: cidr, Use: config.UseLoadBalancers}}
	if change != nil {
		change(&p.Spec)
	}
	return p
}

// service is the i-th in age, in namespace a, with port 80; change may be nil.
func service(i int, change func(*Service)) Service {
	s := Service{
		Namespace: "a", Name: fmt.Sprintf("s%d", i), UID: fmt.Sprintf("uid-%d", i), Created: time.Unix(int64(i), 0),
		Served: true, Families: []string{v4}, Ports: []Port{{"TCP", 80}}, Selector: "app=web",
	}
	if change != nil {
		change(&s)
	}
	return s
}

func holds(texts ...string) func(*Service) {
	return func(s *Service) { s.Held, s.Given, s.Noted = addrs(texts...), addrs(texts...), true }
}

func asks(annotation, value string) func(*Service) {
	return func(s *Service) { s.Request = ParseRequest(map[string]string{annotation: value}, "") }
}

func both(changes ...func(*Service)) func(*Service) {
	return func(s *Service) {
		for _, c := range changes {
			c(s)
		}
	}
}

// say writes a Plan, a line for each verdict; addresses as "free" where any of the pool's would do.
func say(p Plan, anyOf ...string) string {
	var out strings.Builder
	for _, v := range p.Verdicts {
		fmt.Fprintf(&out, "%s:", v.Service)
		if v.Release {
			out.WriteString(" release")
		}
		for i, a := range v.Addresses {
			text := a.String()
			for _, cidr := range anyOf {
				if netip.MustParsePrefix(cidr).Contains(a) {
					text = "in " + cidr
				}
			}
			fmt.Fprintf(&out, " %s of %q", text, v.Pools[i])
		}
		if v.Refusal != nil {
			fmt.Fprintf(&out, " %s: %s", v.Refusal.Reason, v.Refusal.Message)
		}
		out.WriteString("\n")
	}
	return out.String()
}

func selecting(namespace, label string) func(*config.AddressPoolSpec) {
	return func(s *config.AddressPoolSpec) {
		if namespace != "" {
			s.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"team": namespace}}
		}
		if label != "" {
			s.ServiceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"exposed": label}}
		}
	}
}

func excluding(parts ...string) func(*config.AddressPoolSpec) {
	return func(s *config.AddressPoolSpec) { s.Exclusions = parts }
}

func disabled(s *config.AddressPoolSpec) { s.Disabled = true }

func namespaces() map[string]map[string]string {
	return map[string]map[string]string{"a": nil, "b": {"team": "blue"}}
}

const (
	ips     = config.AnnotationLoadBalancerIPs
	poolKey = config.AnnotationLoadBalancerPool
	sharing = config.AnnotationSharingKey
)

// TestRequests: what is asked for is given, or refused with the reason and the mend.
func TestRequests(t *testing.T) {
	t.Parallel()
	pools := []config.AddressPool{
		pool("one", "10.0.0.0/24", func(s *config.AddressPoolSpec) {
			s.Exclusions, s.Reservations = []string{"10.0.0.16/28"}, []string{"10.0.0.128/25"}
		}),
		pool("shut", "10.9.0.0/24", disabled),
		pool("team", "10.8.0.0/24", selecting("blue", "")),
		pool("six", "fd00::/64", nil),
	}
	for _, c := range []struct{ annotation, value, want string }{
		{ips, "10.0.0.0", `10.0.0.0 of "one"`},
		{ips, "10.0.0.255", `10.0.0.255 of "one"`},
		{ips, "10.0.0.200", `10.0.0.200 of "one"`},
		{ips, "10.0.0.20", "NotInPool: 10.0.0.20 is excluded from AddressPool/one: ask for another"},
		{ips, "192.0.2.1", "NotInPool: 192.0.2.1 is in no AddressPool with use loadBalancers: ask for another, or write a pool with it"},
		{ips, "10.9.0.1", "NotInPool: 10.9.0.1 is of AddressPool/shut, which is disabled: enable it, or ask for another"},
		{ips, "10.8.0.1", "NotInPool: 10.8.0.1 is of AddressPool/team, which does not serve the Service: mend its selectors, or ask for another"},
		{ips, "10.0.0.1, 10.0.0.2", "BadRequest: 10.0.0.1 and 10.0.0.2 are both asked for: ask for one IPv4 address, in the annotation podroute.io/load-balancer-ips or in spec.loadBalancerIP"},
		{ips, "fd00::1", "BadRequest: fd00::1 is asked for, and the Service has no IPv6 in its ipFamilies: add it, or ask for another"},
		{ips, "ten", `BadRequest: "ten" is no address: write one such as 192.0.2.1 or 2001:db8::1`},
		{ips, "10.0.0.7", "AddressTaken: 10.0.0.7 is in use by Service a/s1: give both the same annotation podroute.io/sharing-key, in one namespace, or ask for another address"},
		{ips, "10.0.0.8", "AddressTaken: 10.0.0.8 is in use by Service a/s1: give both the same annotation podroute.io/sharing-key, in one namespace, or ask for another address"},
		{poolKey, "one", `in 10.0.0.0/24 of "one"`},
		{poolKey, "six", `in 10.0.0.0/24 of "one"`}, // of another family
		{poolKey, "team", "NotInPool: AddressPool/team does not serve the Service: mend its selectors, or name another"},
		{poolKey, "none", "BadRequest: AddressPool/none is not in force, or not for load balancers: name another in the annotation podroute.io/load-balancer-pool"},
		{poolKey, "shut", "PoolExhausted: no IPv4 address is free in AddressPool/shut (disabled): add a pool, or free some"},
	} {
		older := service(1, both(holds("10.0.0.7"), func(s *Service) { s.External = addrs("10.0.0.8") }))
		p := Make(State{Pools: pools, Services: []Service{service(2, asks(c.annotation, c.value)), older}, Namespaces: namespaces()})
		got := say(Plan{Verdicts: p.Verdicts[1:]})
		if strings.HasPrefix(c.want, "in ") {
			got = say(Plan{Verdicts: p.Verdicts[1:]}, "10.0.0.0/24")
		}
		if want := "a/s2: " + c.want + "\n"; got != want {
			t.Errorf("%s: %s\n got %s want %s", c.annotation, c.value, got, want)
		}
	}
}

// TestCases: who gets what, and who keeps it.
func TestCases(t *testing.T) {
	t.Parallel()
	dual := func(s *Service) { s.Families = []string{v4, v6} }
	require := both(dual, func(s *Service) { s.Required = true })
	port := func(n int32) func(*Service) { return func(s *Service) { s.Ports = []Port{{"TCP", n}} } }
	local := func(selector string) func(*Service) {
		return func(s *Service) { s.Local, s.Selector = true, selector }
	}
	key, one, six := asks(sharing, "k"), pool("one", "10.0.0.0/31", nil), pool("six", "fd00::/120", nil)
	full := "no IPv4 address is free in AddressPool/one: add a pool, or free some"
	for name, c := range map[string]struct {
		pools    []config.AddressPool
		services []Service
		want     string
	}{
		"a range gives all of its addresses": {
			[]config.AddressPool{one},
			[]Service{service(1, nil), service(2, nil), service(3, nil)},
			`a/s1: in 10.0.0.0/31 of "one"|a/s2: in 10.0.0.0/31 of "one"|a/s3: PoolExhausted: ` + full,
		},
		"both families": {
			[]config.AddressPool{one, six},
			[]Service{service(1, dual)},
			`a/s1: in 10.0.0.0/31 of "one" in fd00::/120 of "six"`,
		},
		"preferred families as far as there are pools, required ones or none": {
			[]config.AddressPool{one},
			[]Service{service(1, dual), service(2, require)},
			`a/s1: in 10.0.0.0/31 of "one"|a/s2: NoPool: no AddressPool with use loadBalancers serves the Service with IPv6 addresses: write one, or mend the selectors of one`,
		},
		"a required family that is missing takes nothing away": {
			[]config.AddressPool{one},
			[]Service{service(1, both(require, holds("10.0.0.1")))},
			`a/s1: 10.0.0.1 of "one" NoPool: no AddressPool with use loadBalancers serves the Service with IPv6 addresses: write one, or mend the selectors of one (it has 10.0.0.1)`,
		},
		"the older keeps what two hold": {
			[]config.AddressPool{one},
			[]Service{service(2, holds("10.0.0.1")), service(1, holds("10.0.0.1"))},
			`a/s1: 10.0.0.1 of "one"|a/s2: 10.0.0.0 of "one"`,
		},
		"the younger loses it even where there is no other": {
			[]config.AddressPool{pool("one", "10.0.0.1/32", nil)},
			[]Service{service(2, holds("10.0.0.1")), service(1, holds("10.0.0.1"))},
			`a/s1: 10.0.0.1 of "one"|a/s2: PoolExhausted: ` + full,
		},
		"pools change, addresses stay": {
			[]config.AddressPool{pool("one", "10.0.0.0/31", disabled), pool("two", "10.0.1.0/31", excluding("10.0.1.0/32")), pool("team", "10.0.2.0/31", selecting("blue", ""))},
			[]Service{service(1, holds("10.0.0.0")), service(2, holds("10.0.1.0")), service(3, holds("10.0.2.0")), service(4, holds("10.0.3.0"))},
			`a/s1: 10.0.0.0 of "one"|a/s2: 10.0.1.0 of "two"|a/s3: 10.0.2.0 of "team"|a/s4: 10.0.3.0 of ""`,
		},
		"what is taken back is given to nobody in the same plan": {
			[]config.AddressPool{one},
			[]Service{service(1, both(holds("10.0.0.0"), asks(ips, "10.0.0.1"))), service(2, nil), service(3, asks(ips, "10.0.0.0"))},
			`a/s1: 10.0.0.1 of "one"|a/s2: PoolExhausted: ` + full + `|a/s3: AddressTaken: 10.0.0.0 is in use by Service a/s1: give both the same annotation podroute.io/sharing-key, in one namespace, or ask for another address`,
		},
		"a request that is refused takes nothing away": {
			[]config.AddressPool{one},
			[]Service{service(1, both(holds("10.0.0.0"), asks(ips, "10.1.0.0")))},
			`a/s1: 10.0.0.0 of "one" NotInPool: 10.1.0.0 is in no AddressPool with use loadBalancers: ask for another, or write a pool with it (it has 10.0.0.0)`,
		},
		"the youngest's request counts before the oldest's luck": {
			[]config.AddressPool{pool("one", "10.0.0.0/30", nil)},
			[]Service{service(1, nil), service(2, nil), service(3, nil), service(4, asks(ips, "10.0.0.2"))},
			`a/s1: in 10.0.0.0/30 of "one"|a/s2: in 10.0.0.0/30 of "one"|a/s3: in 10.0.0.0/30 of "one"|a/s4: in 10.0.0.0/30 of "one"`,
		},
		"a key shares, where ports differ": {
			[]config.AddressPool{one},
			[]Service{service(1, both(key, holds("10.0.0.1"))), service(2, both(key, port(81))), service(3, key)},
			`a/s1: 10.0.0.1 of "one"|a/s2: 10.0.0.1 of "one"|a/s3: 10.0.0.0 of "one"`,
		},
		"a key shares what another asks for": {
			[]config.AddressPool{pool("one", "10.0.0.0/30", func(s *config.AddressPoolSpec) { s.Reservations = []string{"10.0.0.2/31"} })},
			[]Service{service(1, both(key, port(81))), service(2, func(s *Service) {
				s.Request = ParseRequest(map[string]string{sharing: "k", ips: "10.0.0.3"}, "")
			})},
			`a/s1: 10.0.0.3 of "one"|a/s2: 10.0.0.3 of "one"`,
		},
		"Local shares with Local of the same pods": {
			[]config.AddressPool{one},
			[]Service{
				service(1, both(key, local("x"), holds("10.0.0.1"))), service(2, both(key, local("x"), port(81))),
				service(3, both(key, local("y"), port(82))), service(4, both(key, port(83))),
			},
			`a/s1: 10.0.0.1 of "one"|a/s2: 10.0.0.1 of "one"|a/s3: 10.0.0.0 of "one"|a/s4: PoolExhausted: ` + full,
		},
		"a key counts in its namespace": {
			[]config.AddressPool{one},
			[]Service{service(1, both(key, holds("10.0.0.1"))), service(2, both(key, port(81), func(s *Service) { s.Namespace = "b" }))},
			`a/s1: 10.0.0.1 of "one"|b/s2: 10.0.0.0 of "one"`,
		},
		"an address that was lost from the status comes back": {
			[]config.AddressPool{pool("one", "10.0.0.0/24", nil)},
			[]Service{service(1, func(s *Service) { s.Given = addrs("10.0.0.77") })},
			`a/s1: 10.0.0.77 of "one"`,
		},
		"a service that is none of ours any more": {
			[]config.AddressPool{one},
			[]Service{
				service(1, both(holds("10.0.0.1"), func(s *Service) { s.Served = false })),
				service(2, both(holds("10.0.0.0"), func(s *Service) { s.Leaving = true })), service(3, nil),
			},
			`a/s1: release|a/s3: PoolExhausted: ` + full,
		},
		"a service without a class that somebody else serves": {
			[]config.AddressPool{one},
			[]Service{
				service(1, func(s *Service) { s.Unclassed, s.Held = true, addrs("192.0.2.1") }),
				service(2, func(s *Service) { s.Unclassed, s.Strange = true, true }),
				service(3, func(s *Service) { s.Unclassed, s.Held = true, addrs("10.0.0.1") }),
				service(4, func(s *Service) { s.Held, s.Strange = addrs("192.0.2.1"), true }),
			},
			`a/s3: 10.0.0.1 of "one"|a/s4: 10.0.0.0 of "one"`,
		},
		"pools that select serve alone": {
			[]config.AddressPool{pool("all", "10.0.0.0/31", nil), pool("blue", "10.0.1.0/31", selecting("blue", "")), pool("exposed", "10.0.2.0/31", selecting("blue", "yes"))},
			[]Service{
				service(1, func(s *Service) { s.Namespace = "b" }),
				service(2, func(s *Service) {
					s.Namespace, s.Labels, s.Request.Pools = "b", map[string]string{"exposed": "yes"}, []string{"exposed"}
				}),
				service(3, func(s *Service) { s.Labels = map[string]string{"exposed": "yes"} }),
			},
			`a/s3: in 10.0.0.0/31 of "all"|b/s1: in 10.0.1.0/31 of "blue"|b/s2: in 10.0.2.0/31 of "exposed"`,
		},
		"a namespace that is not known yet": {
			[]config.AddressPool{one, pool("blue", "10.0.1.0/31", selecting("blue", ""))},
			[]Service{
				service(1, func(s *Service) { s.Namespace = "new" }), service(2, both(holds("10.0.0.1"), func(s *Service) { s.Namespace = "new" })),
				service(3, nil), service(4, nil),
			},
			`a/s3: 10.0.0.0 of "one"|a/s4: PoolExhausted: ` + full,
		},
		"another family, another pool": {
			[]config.AddressPool{one, pool("two", "10.0.1.0/31", nil), six},
			[]Service{service(1, both(holds("10.0.0.0"), func(s *Service) { s.Families = []string{v6} })), service(2, both(holds("10.0.0.1"), asks(poolKey, "two")))},
			`a/s1: in fd00::/120 of "six"|a/s2: in 10.0.1.0/31 of "two"`,
		},
	} {
		p := Make(State{Pools: c.pools, Services: c.services, Namespaces: namespaces()})
		var cidrs []string
		for _, v := range c.pools {
			if strings.Contains(c.want, "in "+v.Spec.CIDR) {
				cidrs = append(cidrs, v.Spec.CIDR)
			}
		}
		if diff := cmp.Diff(strings.ReplaceAll(c.want, "|", "\n")+"\n", say(p, cidrs...)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestFill: what is held counts once, and what is excluded is told.
func TestFill(t *testing.T) {
	t.Parallel()
	p := Make(State{
		Pools: []config.AddressPool{
			pool("one", "10.0.0.0/24", func(s *config.AddressPoolSpec) {
				s.Exclusions, s.Reservations = []string{"10.0.0.0/25", "10.0.0.64/26"}, []string{"10.0.0.192/27", "10.0.0.32/28"}
			}),
			pool("six", "fd00::/64", nil), pool("none", "10.1.0.0/24", nil),
		},
		Blocks: []netip.Prefix{netip.MustParsePrefix("10.0.0.240/28"), netip.MustParsePrefix("10.1.0.0/16")},
		Services: []Service{
			service(1, both(asks(sharing, "k"), holds("10.0.0.130"))),
			service(2, both(asks(sharing, "k"), holds("10.0.0.130"), func(s *Service) { s.Ports = nil })),
			service(3, holds("10.0.0.1")), service(4, holds("10.0.0.193")),
		},
	})
	want := map[string]Fill{
		"one":  {Given: 3, Free: 128 - 32 - 16 - 1, Strays: []string{"10.0.0.1 of a/s3"}},
		"six":  {Free: 1<<31 - 1},
		"none": {},
	}
	if diff := cmp.Diff(want, p.Pools); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestCooling: an address that was given back is not at once another's, unless there is no other.
func TestCooling(t *testing.T) {
	t.Parallel()
	cooling := map[netip.Addr]bool{netip.MustParseAddr("10.0.0.1"): true}
	p := Make(State{Pools: []config.AddressPool{pool("one", "10.0.0.0/31", nil)}, Services: []Service{service(1, nil), service(2, nil)}, Cooling: cooling})
	if got, want := say(p), "a/s1: 10.0.0.0 of \"one\"\na/s2: 10.0.0.1 of \"one\"\n"; got != want {
		t.Errorf("got %s want %s", got, want)
	}
}

// TestLastOne: whatever is free is found, past what is in use, excluded and reserved; before what somebody asks for in vain.
func TestLastOne(t *testing.T) {
	t.Parallel()
	s := State{Pools: []config.AddressPool{pool("one", "10.0.0.0/24", func(s *config.AddressPoolSpec) {
		s.Exclusions, s.Reservations = []string{"10.0.0.32/27", "10.0.0.0/28"}, []string{"10.0.0.128/25"}
	})}}
	const only, vain, cold = "10.0.0.99", "10.0.0.100", "10.0.0.101"
	for i := 16; i < 128; i++ {
		if a := fmt.Sprintf("10.0.0.%d", i); a != only && a != vain && a != cold {
			s.Services = append(s.Services, service(i, holds(a)))
		}
	}
	s.Cooling = map[netip.Addr]bool{netip.MustParseAddr(cold): true}
	elsewhere := service(200, both(asks(ips, vain), func(s *Service) { s.Request.Pools = []string{"none"} }))
	s.Services = append(s.Services, elsewhere, service(201, nil), service(202, nil), service(203, nil), service(204, nil))
	p := Make(s)
	got := map[string]string{}
	for _, v := range p.Verdicts {
		got[v.Service] = texts(v.Addresses)
	}
	for name, want := range map[string]string{"a/s200": "", "a/s201": only, "a/s202": cold, "a/s203": vain, "a/s204": ""} {
		if got[name] != want {
			t.Errorf("%s has %q, want %q", name, got[name], want)
		}
	}
	if f := p.Pools["one"]; f.Free != 0 {
		t.Errorf("%+v", f)
	}
}
