package agent

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/podroute/podroute/config"
)

// manyServices are Services with an address each, served by the node and by others.
func manyServices(n int) config.Snapshot {
	s := config.Default()
	s.Nodes = []config.Node{{Name: "n1", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}}
	s.Peers = []config.BGPPeer{{}}
	s.Peers[0].Name, s.Peers[0].Spec.Address = "tor", "192.0.2.254"
	ad := config.Advertisement{Spec: config.AdvertisementSpec{Services: &config.ServiceAdvertisement{
		Addresses: []config.ServiceAddress{config.LoadBalancerAddress, config.ClusterAddress},
	}}}
	ad.Name = "services"
	s.Advertisements = []config.Advertisement{ad}
	for i := range n {
		s.Services = append(s.Services, config.Service{
			Namespace: "shop", Name: fmt.Sprintf("s%04d", i), Type: "LoadBalancer", ExternalLocal: i%2 == 0,
			ClusterIPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)})},
			IngressIPs: []netip.Addr{netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})},
			IPv4:       config.Endpoints{Ready: []string{"", "n1"}},
		})
	}
	return s
}

// TestManyServices: five thousand of them do not make a turn of the loop slow.
func TestManyServices(t *testing.T) {
	t.Parallel()
	const count, most = 5000, 3 * time.Second // with the race detector and all processors busy; else a hundredth of that
	in := Inputs{NodeName: "n1", Snapshot: manyServices(count)}
	start := time.Now()
	d := desired(in)
	took := time.Since(start)
	t.Logf("%d services: %v", count, took)
	if len(d.BGP.Paths) != 2*count || len(d.NFT.Services) != 2*count {
		t.Errorf("%d paths, %d addresses refused, want %d", len(d.BGP.Paths), len(d.NFT.Services), 2*count)
	}
	if took > most {
		t.Errorf("it took %v, want at most %v", took, most)
	}
}

// TestServicesSettle: an address is advertised once it has been served for its Advertisement's delay, and anew when it
// was not for a while; after a restart of the agent at once.
func TestServicesSettle(t *testing.T) {
	t.Parallel()
	began := time.Now()
	in := Inputs{NodeName: "n1", Snapshot: manyServices(2), Now: began, Since: map[netip.Prefix]time.Time{}}
	at := func(after time.Duration, paths int, due time.Duration) {
		t.Helper()
		in.Now = began.Add(after)
		d := desired(in)
		in.Since = d.Found
		var want time.Time
		if due != 0 {
			want = began.Add(due)
		}
		if len(d.BGP.Paths) != paths || !d.Due.Equal(want) {
			t.Errorf("after %v: %d paths, next due after %v; want %d and %v", after, len(d.BGP.Paths), d.Due.Sub(began), paths, due)
		}
	}
	const second = time.Second
	at(0, 0, 2*second)
	at(second, 0, 2*second)
	at(2*second, 4, 0)
	gone := in.Snapshot.Services[0].IPv4
	in.Snapshot.Services[0].IPv4 = config.Endpoints{Ready: []string{""}} // no more here: s0000 is Local outside
	at(3*second, 3, 0)
	in.Snapshot.Services[0].IPv4 = gone
	at(4*second, 3, 6*second)
	in.Withdraw = true
	at(5*second, 0, 6*second)
	at(7*second, 0, 0)
	in.Withdraw = false // as served as before
	at(8*second, 4, 0)
	in.Since = nil
	at(0, 4, 0)
}

// TestServicesNextHop: an Advertisement's nextHops are for its services, too, each for its family.
func TestServicesNextHop(t *testing.T) {
	t.Parallel()
	in := Inputs{NodeName: "n1", Snapshot: manyServices(1)}
	in.Snapshot.Services[0].ClusterIPs = append(in.Snapshot.Services[0].ClusterIPs, netip.MustParseAddr("fd00:96::1"))
	in.Snapshot.Services[0].IPv6 = config.Endpoints{Ready: []string{"n1"}}
	in.Snapshot.Advertisements[0].Spec.NextHops = []string{"192.0.2.9"}
	paths := desired(in).BGP.Paths
	if len(paths) != 3 {
		t.Fatalf("%d paths: %+v", len(paths), paths)
	}
	for _, p := range paths {
		want := netip.Addr{}
		if p.Prefix.Addr().Is4() {
			want = netip.MustParseAddr("192.0.2.9")
		}
		if p.NextHop != want {
			t.Errorf("%v by %v, want %v", p.Prefix, p.NextHop, want)
		}
	}
}
