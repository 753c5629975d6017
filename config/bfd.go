package config

import (
	"fmt"
	"net/netip"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Defaults and bounds of BFD. The intervals are those that FRR and many routers start from.
const (
	DefaultBFDInterval   = 300 * time.Millisecond
	DefaultBFDMultiplier = 3

	minBFDInterval = 10 * time.Millisecond
	maxBFDInterval = time.Minute
)

func (s *BFDSpec) setDefaults() {
	if s == nil {
		return
	}
	for _, d := range []**metav1.Duration{&s.TransmitInterval, &s.ReceiveInterval} {
		if *d == nil {
			*d = &metav1.Duration{Duration: DefaultBFDInterval}
		}
	}
	orDefault(&s.DetectMultiplier, DefaultBFDMultiplier)
}

// bfd checks a peer's BFD.
func (r *report) bfd(s *BGPPeerSpec) {
	if s.BFD == nil {
		return
	}
	for _, d := range []struct {
		field string
		value *metav1.Duration
	}{{"transmitInterval", s.BFD.TransmitInterval}, {"receiveInterval", s.BFD.ReceiveInterval}} {
		if v := d.value.Duration; v < minBFDInterval || v > maxBFDInterval {
			r.addf("spec.bfd."+d.field, fmt.Sprintf("use %v to 1m", minBFDInterval), "%v is out of range", v)
		}
	}
	r.between("spec.bfd.detectMultiplier", int64(s.BFD.DetectMultiplier), 1, 255)
	if a, err := netip.ParseAddr(s.Address); err == nil && a.IsLinkLocalUnicast() && a.Is6() && s.BFD.Multihop != nil && *s.BFD.Multihop {
		r.addf("spec.bfd.multihop", "remove it", "%s is link-local: it is one hop away", a)
	}
}

// Intervals are TransmitInterval and ReceiveInterval.
func (s BFDSpec) Intervals() (transmit, receive time.Duration) {
	return duration(s.TransmitInterval, DefaultBFDInterval), duration(s.ReceiveInterval, DefaultBFDInterval)
}

// OverHops tells whether BFD with the neighbour is that over several hops, and how many at most; 0: any number.
func (s BGPPeerSpec) OverHops() (multihop bool, most int) {
	multihop = s.MultihopTTL != 0 || s.TTLSecurity > 1
	if s.BFD != nil && s.BFD.Multihop != nil {
		multihop = *s.BFD.Multihop
	}
	if multihop {
		most = int(s.TTLSecurity)
	}
	return multihop, most
}
