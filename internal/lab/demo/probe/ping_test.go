package probe

import (
	"testing"
	"time"
)

func TestTally(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Tally{
		"":           {},
		"++++":       {Sent: 4},
		"++-+":       {Sent: 4, Lost: 1, Gap: 20 * time.Millisecond},
		"+--++---++": {Sent: 10, Lost: 5, Gap: 40 * time.Millisecond},
		"--+":        {Sent: 3, Lost: 2, Gap: 20 * time.Millisecond},
		"+---":       {Sent: 4, Lost: 3, Gap: 30 * time.Millisecond},
		"---":        {Sent: 3, Lost: 3, Gap: 20 * time.Millisecond},
		"-":          {Sent: 1, Lost: 1},
	} {
		var probes []pinged
		for i, c := range text {
			probes = append(probes, pinged{at: time.Unix(0, 0).Add(time.Duration(i) * interval), answered: c == '+'})
		}
		if got := tally(probes); got != want {
			t.Errorf("%q: %+v, want %+v", text, got, want)
		}
	}
}

// A sender that stalls is not a network that fails.
func TestTallyStall(t *testing.T) {
	t.Parallel()
	start := time.Unix(0, 0)
	probes := []pinged{{start, true}, {start.Add(interval), false}, {start.Add(50 * interval), true}}
	if got, want := tally(probes), (Tally{Sent: 3, Lost: 1, Gap: 2 * interval}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
