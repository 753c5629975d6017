package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
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

// bfdMethods are the methods of authentication, in the order of their numbers in RFC 5880 section 4.1, from 1.
func bfdMethods() []string {
	return []string{"SimplePassword", "KeyedMD5", "MeticulousKeyedMD5", "KeyedSHA1", "MeticulousKeyedSHA1"}
}

func (s *BFDTimers) setDefaults() {
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

func (s *BFDSpec) setDefaults() {
	if s == nil {
		return
	}
	s.BFDTimers.setDefaults()
	if s.Authentication != nil {
		s.Authentication.Key.setDefaults()
	}
}

// bfd checks a peer's BFD.
func (r *report) bfd(s *BGPPeerSpec) {
	if s.BFD == nil {
		return
	}
	r.bfdTimers("spec.bfd", s.BFD.BFDTimers)
	if a := s.BFD.Authentication; a != nil {
		if r.oneOf("spec.bfd.authentication.method", a.Method, bfdMethods()...) {
			r.between("spec.bfd.authentication.keyID", int64(a.KeyID), 0, 255)
		}
		r.passwordSource("spec.bfd.authentication.key", &a.Key)
	}
	if a, err := netip.ParseAddr(s.Address); err == nil && a.IsLinkLocalUnicast() && a.Is6() && s.BFD.Multihop != nil && *s.BFD.Multihop {
		r.addf("spec.bfd.multihop", "remove it", "%s is link-local: it is one hop away", a)
	}
}

func (r *report) bfdTimers(field string, s BFDTimers) {
	for _, d := range []struct {
		field string
		value *metav1.Duration
	}{{"transmitInterval", s.TransmitInterval}, {"receiveInterval", s.ReceiveInterval}} {
		if v := d.value.Duration; v < minBFDInterval || v > maxBFDInterval {
			r.addf(field+"."+d.field, fmt.Sprintf("use %v to 1m", minBFDInterval), "%v is out of range", v)
		}
	}
	r.between(field+".detectMultiplier", int64(s.DetectMultiplier), 1, 255)
}

// Intervals are TransmitInterval and ReceiveInterval.
func (s BFDTimers) Intervals() (transmit, receive time.Duration) {
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

// AuthType is the method's number in RFC 5880 section 4.1; 0 is none.
func (s BFDSpec) AuthType() uint8 {
	if s.Authentication == nil {
		return 0
	}
	return uint8(slices.Index(bfdMethods(), s.Authentication.Method) + 1)
}

// secret is a password of a peer's.
type secret struct {
	field, name string
	source      *PasswordSource
	most        int // bytes
}

// secrets are all the passwords that a peer has.
func (s *BGPPeerSpec) secrets() []secret {
	var out []secret
	if s.Password != nil {
		out = append(out, secret{"spec.password", "password", s.Password, maxPassword})
	}
	if s.BFD != nil && s.BFD.Authentication != nil {
		most := 16
		if strings.HasSuffix(s.BFD.Authentication.Method, "SHA1") {
			most = 20
		}
		out = append(out, secret{"spec.bfd.authentication.key", "key", &s.BFD.Authentication.Key, most})
	}
	return out
}

// SecretRefs are the keys of Secrets that the peer needs.
func (s BGPPeerSpec) SecretRefs() []SecretKeyRef {
	var out []SecretKeyRef
	for _, x := range s.secrets() {
		if x.source.SecretRef != nil {
			out = append(out, *x.source.SecretRef)
		}
	}
	return out
}

// BFDKey returns the key of a peer's BFD, empty where it has none.
func (s Snapshot) BFDKey(p BGPPeer) (Password, error) {
	if p.Spec.BFD == nil || p.Spec.BFD.Authentication == nil {
		return "", nil
	}
	key, ok := s.secret(&p.Spec.BFD.Authentication.Key)
	if !ok {
		return "", fmt.Errorf("BGPPeer/%s: spec.bfd.authentication.key: not in this snapshot", p.Name)
	}
	return key, nil
}

// secret looks up a password that was found when the snapshot was built.
func (s Snapshot) secret(source *PasswordSource) (Password, bool) {
	if source.SecretRef != nil {
		password, ok := s.Secrets[*source.SecretRef]
		return password, ok
	}
	password, ok := s.PasswordFiles[source.File]
	return password, ok
}
