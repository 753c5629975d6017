package config

import (
	"net/netip"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Defaults of fields. Those of a session's timers are RFC 4271's (section 10) but for the hold time's
// keepalive, which is a third of it.
const (
	DefaultName            = "default" // of the one RouterConfig
	DefaultAS              = 64512
	DefaultPort            = 179
	DefaultMaxPaths        = 64
	DefaultRestartTime     = 120 * time.Second
	DefaultDeferral        = 10 * time.Second
	DefaultHold            = 90 * time.Second
	DefaultSecretNamespace = "kube-system"
	DefaultSecretKey       = "password"
	DefaultMaxPrefixesNode = 10_000
	DefaultMaxPrefixes     = 500_000 // of routers
	DefaultBlockQuarantine = time.Hour
	DefaultMaxNeighbors    = 64
	DefaultWarnAt          = 75 // percent of MaxPrefixes
	DefaultRetry           = 5 * time.Minute
)

// Default returns the configuration that holds where nothing is written: AS 64512, full mesh, pod
// subnets from the Nodes, of which there are none yet.
func Default() Snapshot {
	var s Snapshot
	s.Router.APIVersion, s.Router.Kind, s.Router.Name = APIVersion, "RouterConfig", DefaultName
	s.Router.Spec.setDefaults()
	return s
}

func orDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (s *RouterConfigSpec) setDefaults() {
	orDefault(&s.ASNumber, DefaultAS)
	orDefault(&s.Mesh, MeshFull)
	orDefault(&s.PodSubnets, SubnetsFromNode)
	orDefault(&s.ListenPort, DefaultPort)
	orDefault(&s.MaxPaths, DefaultMaxPaths)
	if s.GracefulRestart == nil {
		s.GracefulRestart = &GracefulRestartSpec{}
	}
	if s.GracefulRestart.RestartTime == nil {
		s.GracefulRestart.RestartTime = &metav1.Duration{Duration: DefaultRestartTime}
	}
	if s.GracefulRestart.Deferral == nil {
		s.GracefulRestart.Deferral = &metav1.Duration{Duration: DefaultDeferral}
	}
	if s.BlockQuarantine == nil {
		s.BlockQuarantine = &metav1.Duration{Duration: DefaultBlockQuarantine}
	}
	if s.AcceptedPrefixLengths.IPv4 == nil {
		s.AcceptedPrefixLengths.IPv4 = &LengthRange{Min: 16, Max: 32}
	}
	if s.AcceptedPrefixLengths.IPv6 == nil {
		s.AcceptedPrefixLengths.IPv6 = &LengthRange{Min: 32, Max: 128}
	}
	s.MeshBFD.setDefaults()
	s.Drain.setDefaults()
	s.ResilientHashing.setDefaults()
}

func (s *BGPPeerSpec) setDefaults() {
	orDefault(&s.Port, DefaultPort)
	if s.Timers == nil {
		s.Timers = &PeerTimers{}
	}
	if s.Timers.Hold == nil {
		s.Timers.Hold = &metav1.Duration{Duration: DefaultHold}
	}
	if s.Timers.Keepalive == nil {
		third := (s.Timers.Hold.Duration / 3).Truncate(time.Second)
		s.Timers.Keepalive = &metav1.Duration{Duration: third}
	}
	orDefault(&s.MaxPrefixesAction, MaxPrefixesTeardown)
	orDefault(&s.MaxPrefixesWarnAt, DefaultWarnAt)
	if s.MaxPrefixesRetry == nil {
		s.MaxPrefixesRetry = &metav1.Duration{Duration: DefaultRetry}
	}
	s.Password.setDefaults()
	s.BFD.setDefaults()
	for _, f := range []*PrefixFilter{s.Import, s.Export} {
		f.setDefaults()
	}
}

func (s *PasswordSource) setDefaults() {
	if s != nil && s.SecretRef != nil {
		orDefault(&s.SecretRef.Namespace, DefaultSecretNamespace)
		orDefault(&s.SecretRef.Key, DefaultSecretKey)
	}
}

// setDefaults fills in GE and LE. A CIDR that cannot be read is left to validation.
func (f *PrefixFilter) setDefaults() {
	if f == nil {
		return
	}
	for _, list := range [][]FilterEntry{f.Accept, f.Reject} {
		for i := range list {
			p, err := netip.ParsePrefix(list[i].CIDR)
			if err != nil {
				continue
			}
			orDefault(&list[i].GE, int32(p.Bits()))
			orDefault(&list[i].LE, list[i].GE)
		}
	}
}

func (s *AddressPoolSpec) setDefaults() {
	orDefault(&s.Use, UsePods)
	p, err := netip.ParsePrefix(s.CIDR)
	if err != nil || s.Use == UseLoadBalancers {
		return
	}
	size := int32(122)
	if p.Addr().Is4() {
		size = 26
	}
	orDefault(&s.BlockSize, max(size, int32(p.Bits())))
}
