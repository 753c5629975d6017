package config

import (
	"fmt"
	"net/netip"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BMPStation is a monitoring station (RFC 7854), which hears what neighbours say.
//
// +kubebuilder:object:generate=true
type BMPStation struct {
	// NodeSelector selects the nodes that call it. Absent: all.
	NodeSelector *metav1.LabelSelector `json:"nodeSelector,omitempty"`
	// Address of the station.
	// +kubebuilder:validation:MaxLength=39
	// +kubebuilder:validation:XValidation:rule="isIP(self) && !ip(self).isUnspecified() && !ip(self).isLinkLocalUnicast() && !ip(self).isLinkLocalMulticast()",message="must be an IP address"
	Address string `json:"address"`
	// Port is the station's TCP port, 1 to 65535; the RFC names none.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port"`
	// Statistics is how often it is told numbers, 1 s to 1 day; 0: never. Default 60 s.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('0s') && duration(self) <= duration('86400s') && duration(self).getMilliseconds() % 1000 == 0",message="must be whole seconds, 0s to 86400s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	Statistics *metav1.Duration `json:"statistics,omitempty"`
}

// mostStations is how many there may be.
const mostStations = 16

// defaultStatistics is how often stations are told numbers.
const defaultStatistics = time.Minute

// AddrPort is where the station listens.
func (s BMPStation) AddrPort() netip.AddrPort {
	return netip.AddrPortFrom(parseAddr(s.Address), uint16(s.Port))
}

// Every is how often it is told numbers; 0: never.
func (s BMPStation) Every() time.Duration { return duration(s.Statistics, defaultStatistics) }

// bmp checks the stations.
func (r *report) bmp(list []BMPStation) {
	if len(list) > mostStations {
		r.addf("spec.bmp", fmt.Sprintf("name at most %d", mostStations), "holds %d stations", len(list))
	}
	seen := map[netip.AddrPort]bool{}
	for i, s := range list {
		field := indexed("spec.bmp", i)
		r.selector(field+".nodeSelector", s.NodeSelector)
		a, ok := r.address(field+".address", s.Address)
		if ok && (a.IsUnspecified() || a.IsMulticast() || a.IsLinkLocalUnicast()) {
			r.addf(field+".address", "use one that the nodes reach", "%s is no address of a station", a)
		}
		r.between(field+".port", int64(s.Port), 1, 65535)
		r.seconds(field+".statistics", s.Statistics, 0, 86400)
		if ok && seen[s.AddrPort()] {
			r.addf(field, "remove one", "%v is there twice", s.AddrPort())
		}
		seen[s.AddrPort()] = true
	}
}
