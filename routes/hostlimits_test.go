package routes

import (
	"errors"
	"os"
	"testing"

	"github.com/podroute/podroute/internal/nstest"
)

func TestNeighbourTable(t *testing.T) {
	t.Parallel()
	s := setting{path: "net/ipv4/neigh/default/gc_thresh3"}
	for _, c := range []struct {
		have       string
		neighbours int
		want       string
	}{
		{"1024", 0, ""},
		{"1024", 448, ""},
		{"1024", 449, "sysctl -w net.ipv4.neigh.default.gc_thresh3=2048: when the table is full, packets to new neighbours are dropped"},
		{"128", 999, "sysctl -w net.ipv4.neigh.default.gc_thresh3=2126: when the table is full, packets to new neighbours are dropped"},
	} {
		f, small := tooFew(s, c.have, c.neighbours)
		if small != (c.want != "") || f.Mend != c.want {
			t.Errorf("%s for %d: %+v", c.have, c.neighbours, f)
		}
	}
}

// TestLimits: this kernel has nexthop objects; a table of neighbours is found too small for a billion where it shows.
func TestLimits(t *testing.T) {
	t.Parallel()
	check := func() error {
		found, err := CheckLimits(t.Context(), 1<<30)
		shown := 0
		for _, family := range []string{"ipv4", "ipv6"} {
			if _, err := os.Stat(sysctls + "/net/" + family + "/neigh/default/gc_thresh3"); err == nil {
				shown++
			}
		}
		if len(found) != shown {
			t.Errorf("found %+v, want %d", found, shown)
		}
		return err
	}
	if err := errors.Join(check(), nstest.New(t).Do(check)); err != nil {
		t.Fatal(err)
	}
}
