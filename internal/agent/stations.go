package agent

import (
	"math"
	"time"

	"github.com/podroute/podroute/bgp/bmp"
	"github.com/podroute/podroute/config"
	"github.com/podroute/podroute/internal/agent/agentpb"
)

// stations are the monitoring stations that this node calls (RFC 7854).
func (d *draft) stations() []bmp.Station {
	var out []bmp.Station
	for _, s := range d.spec.BMP {
		if config.Selects(s.NodeSelector, d.node.Labels) {
			out = append(out, bmp.Station{Addr: s.AddrPort(), Statistics: s.Every()})
		}
	}
	return out
}

// stationList tells how it stands with each.
func (a *Agent) stationList() []*agentpb.Station {
	var out []*agentpb.Station
	for _, s := range a.speaker.Stations() {
		out = append(out, &agentpb.Station{
			Address: s.Addr.String(), Connected: s.Connected, Since: s.Since.Format(time.RFC3339), LastError: s.Error, Sent: uint32(min(s.Sent, math.MaxUint32)),
		})
	}
	return out
}
