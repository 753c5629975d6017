package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// limit is the largest median ratio to BIRD, with the first packing, that passes.
const limit = 1.5

// spread is a sample's smallest, middle and largest value.
type spread struct {
	Min    float64 `json:"min"`
	Median float64 `json:"median"`
	Max    float64 `json:"max"`
}

// figures of one device with one packing.
type figures struct {
	PerUpdate int    `json:"prefixes_per_update"`
	Device    string `json:"device"`
	// Medians.
	InstallMS   float64 `json:"install_ms"`
	WithdrawMS  float64 `json:"withdraw_ms"`
	ArriveMS    float64 `json:"arrive_ms"`
	InstallCPU  float64 `json:"install_cpu_s"`
	WithdrawCPU float64 `json:"withdraw_cpu_s"`
	IdleRSS     float64 `json:"idle_rss_mib"`
	FullRSS     float64 `json:"full_rss_mib"`
	// Ratios to BIRD in the same round.
	Install  spread `json:"install_ratio"`
	Withdraw spread `json:"withdraw_ratio"`
}

// report is what a whole invocation found. Others is the median of how many processors other programs
// kept busy meanwhile.
type report struct {
	Prefixes int        `json:"prefixes"`
	Rounds   int        `json:"rounds"`
	Limit    float64    `json:"limit"`
	Ratio    float64    `json:"ratio"`
	Others   float64    `json:"others_cpus"`
	Pass     bool       `json:"pass"`
	Figures  []figures  `json:"figures"`
	Runs     []measured `json:"runs"`
}

// summarize computes medians and ratios. Podroute's install ratio with the first packing decides.
func summarize(runs []measured, packings []int) report {
	r := report{Prefixes: prefixes, Limit: limit, Runs: runs}
	r.Others = spreadOf(values(runs, func(m measured) float64 { return m.Others })).Median
	for _, per := range packings {
		for _, d := range []string{devBIRD, devPodroute, devFRR} {
			mine := selected(runs, per, d)
			if len(mine) == 0 {
				continue
			}
			f := figuresOf(mine, selected(runs, per, devBIRD))
			if per == packings[0] && d == devPodroute {
				r.Rounds, r.Ratio = len(mine), f.Install.Median
				r.Pass = r.Ratio > 0 && r.Ratio <= limit
			}
			r.Figures = append(r.Figures, f)
		}
	}
	return r
}

// selected are one device's runs with one packing, in the order of rounds.
func selected(runs []measured, per int, device string) []measured {
	var out []measured
	for _, m := range runs {
		if m.PerUpdate == per && m.Device == device {
			out = append(out, m)
		}
	}
	slices.SortFunc(out, func(a, b measured) int { return a.Round - b.Round })
	return out
}

func figuresOf(mine, bird []measured) figures {
	med := func(of func(measured) float64) float64 { return spreadOf(values(mine, of)).Median }
	install := func(m measured) float64 { return m.InstallMS }
	withdraw := func(m measured) float64 { return m.WithdrawMS }
	return figures{
		PerUpdate:   mine[0].PerUpdate,
		Device:      mine[0].Device,
		InstallMS:   med(install),
		WithdrawMS:  med(withdraw),
		ArriveMS:    med(func(m measured) float64 { return m.ArriveMS }),
		InstallCPU:  med(func(m measured) float64 { return m.InstallCPU }),
		WithdrawCPU: med(func(m measured) float64 { return m.WithdrawCPU }),
		IdleRSS:     med(func(m measured) float64 { return float64(m.IdleRSS) / 1024 }),
		FullRSS:     med(func(m measured) float64 { return float64(m.FullRSS) / 1024 }),
		Install:     spreadOf(ratios(mine, bird, install)),
		Withdraw:    spreadOf(ratios(mine, bird, withdraw)),
	}
}

func values(runs []measured, of func(measured) float64) []float64 {
	out := make([]float64, 0, len(runs))
	for _, m := range runs {
		out = append(out, of(m))
	}
	return out
}

// ratios divides by BIRD's value of the same round.
func ratios(mine, bird []measured, of func(measured) float64) []float64 {
	var out []float64
	for _, m := range mine {
		for _, b := range bird {
			if b.Round == m.Round && of(b) > 0 {
				out = append(out, of(m)/of(b))
			}
		}
	}
	return out
}

// spreadOf an empty sample is zero.
func spreadOf(v []float64) spread {
	if len(v) == 0 {
		return spread{}
	}
	v = slices.Sorted(slices.Values(v))
	n := len(v)
	return spread{Min: v[0], Median: (v[(n-1)/2] + v[n/2]) / 2, Max: v[n-1]}
}

// table writes the report for a person.
func (r report) table(w io.Writer) error {
	fmt.Fprintf(w, "%d prefixes, medians of %d rounds; ratios to BIRD round by round: min / median / max\n\n", r.Prefixes, r.Rounds)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "an UPDATE\tdevice\tinto FIB ms\tratio\tout of FIB ms\tratio\tCPU in s\tCPU out s\tidle MiB\tfull MiB\t")
	for _, f := range r.Figures {
		fmt.Fprintf(t, "%d\t%s\t%.0f\t%s\t%.0f\t%s\t%.2f\t%.2f\t%.0f\t%.0f\t\n", f.PerUpdate, f.Device,
			f.InstallMS, f.Install, f.WithdrawMS, f.Withdraw, f.InstallCPU, f.WithdrawCPU, f.IdleRSS, f.FullRSS)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	verdict := "PASS"
	if !r.Pass {
		verdict = "FAIL"
	}
	fmt.Fprintf(w, "\nother programs kept %.1f processors busy meanwhile (median)\n", r.Others)
	_, err := fmt.Fprintf(w, "bench-fib: %s: %.2f times BIRD's time at %d prefixes an UPDATE, at most %.2f\n",
		verdict, r.Ratio, packings()[0], r.Limit)
	return err
}

func (s spread) String() string { return fmt.Sprintf("%.2f / %.2f / %.2f", s.Min, s.Median, s.Max) }
