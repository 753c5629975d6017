package traffic

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestCount(t *testing.T) {
	began := time.Unix(1000, 0)
	at := func(ms int) time.Time { return began.Add(time.Duration(ms) * time.Millisecond) }
	answered := func(ms int) probe { return probe{at(ms), at(ms + 1)} }
	lost := func(ms int) probe { return probe{sent: at(ms)} }
	for _, c := range []struct {
		name   string
		probes []probe
		want   Tally
	}{
		{"nothing", nil, Tally{}},
		{"all answered", []probe{answered(0), answered(10), answered(500)}, Tally{Sent: 3, Slowest: time.Millisecond}},
		{
			"a hole",
			[]probe{answered(0), lost(10), lost(20), answered(30), lost(40), answered(50)},
			Tally{Sent: 6, Lost: 3, Slowest: time.Millisecond, LongestGap: 30 * time.Millisecond, First: at(10), Last: at(40)},
		},
		{
			"lost at the end",
			[]probe{answered(0), lost(10), lost(20)},
			Tally{Sent: 3, Lost: 2, Slowest: time.Millisecond, LongestGap: 19 * time.Millisecond, First: at(10), Last: at(20)},
		},
		{"lost at the beginning", []probe{lost(0), lost(10), answered(20)}, Tally{Sent: 3, Lost: 2, Slowest: time.Millisecond, First: at(0), Last: at(10)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, count(c.probes)); diff != "" {
				t.Error(diff)
			}
		})
	}
}
