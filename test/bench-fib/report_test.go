package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func sampleRun(device string, round, per int, install float64) measured {
	return measured{job: job{device, round, per}, InstallMS: install, WithdrawMS: 2 * install, FullRSS: 2048}
}

func TestSummarize(t *testing.T) {
	t.Parallel()
	// Medians are 400 and 900; round by round, podroute takes 1.5, 3 and 1 times as long.
	runs := []measured{
		sampleRun(devBIRD, 1, 100, 400), sampleRun(devPodroute, 1, 100, 600),
		sampleRun(devPodroute, 2, 100, 900), sampleRun(devBIRD, 2, 100, 300),
		sampleRun(devBIRD, 3, 100, 1000), sampleRun(devPodroute, 3, 100, 1000),
		sampleRun(devBIRD, 1, 4, 100), sampleRun(devPodroute, 1, 4, 1000),
	}
	r := summarize(runs, []int{100, 4})
	if r.Ratio != 1.5 || !r.Pass || r.Rounds != 3 {
		t.Errorf("ratio %v, pass %v, rounds %d", r.Ratio, r.Pass, r.Rounds)
	}
	want := figures{
		PerUpdate: 100, Device: devPodroute, InstallMS: 900, WithdrawMS: 1800, FullRSS: 2,
		Install: spread{1, 1.5, 3}, Withdraw: spread{1, 1.5, 3},
	}
	if d := cmp.Diff(want, r.Figures[1]); d != "" {
		t.Error(d)
	}
	var out strings.Builder
	if err := r.table(&out); err != nil || !strings.Contains(out.String(), "bench-fib: PASS: 1.50 times BIRD's time at 100") {
		t.Errorf("%v: %s", err, &out)
	}
}

func TestVerdict(t *testing.T) {
	t.Parallel()
	for ratio, pass := range map[float64]bool{0.9: true, 1.5: true, 1.51: false} {
		runs := []measured{sampleRun(devBIRD, 1, 100, 100), sampleRun(devPodroute, 1, 100, 100*ratio)}
		if got := summarize(runs, []int{100}); got.Pass != pass {
			t.Errorf("ratio %v: pass %v", ratio, got.Pass)
		}
	}
	if summarize(nil, []int{100}).Pass {
		t.Error("no figures pass")
	}
}
