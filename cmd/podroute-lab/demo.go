package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/podroute/podroute/internal/lab/demo"
	"github.com/podroute/podroute/internal/lab/demo/probe"
)

type demoFlags struct {
	file   string
	router string
	json   bool
	keep   bool
}

func (f *demoFlags) flags(c *cobra.Command) {
	c.Flags().StringVarP(&f.file, "topo", "t", "", "topology file; default: deploy/containerlab/two-racks.clab.yml")
	c.Flags().StringVar(&f.router, "router", demo.Routers()[0], "what the spine and the top-of-rack switches run: "+strings.Join(demo.Routers(), ", "))
	c.Flags().BoolVar(&f.json, "json", false, "write the result as JSON")
	_ = c.MarkFlagFilename("topo", "yml", "yaml")
	_ = c.RegisterFlagCompletionFunc("router", cobra.FixedCompletions(demo.Routers(), cobra.ShellCompDirectiveNoFileComp))
}

func (f *demoFlags) options() (demo.Options, error) {
	if !slices.Contains(demo.Routers(), f.router) {
		return demo.Options{}, usageError{fmt.Errorf("--router %q: one of %s", f.router, strings.Join(demo.Routers(), ", "))}
	}
	exe, err := os.Executable()
	if err != nil {
		return demo.Options{}, err
	}
	if f.file == "" {
		if f.file, err = demo.Find(exe); err != nil {
			return demo.Options{}, err
		}
	}
	dir := filepath.Dir(exe)
	for _, name := range []string{"podroute", "podroute-cni"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return demo.Options{}, fmt.Errorf("%s is not beside podroute-lab: build all commands into one folder (make build): %w", name, err)
		}
	}
	return demo.Options{
		Topology: f.file, Router: f.router, PathDir: dir, Keep: f.keep,
		Probe:    []string{"/proc/1/exe", probeName}, // a node's init is this program
		Progress: stageProgress(),
	}, nil
}

func demoCommand() *cobra.Command {
	var f demoFlags
	c := &cobra.Command{
		Use:   "demo",
		Short: "Two racks, four nodes, twelve pods: prove the network, then break things under running pings",
		Args:  exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			o, err := f.options()
			if err != nil {
				return err
			}
			r := demo.Run(c.Context(), o)
			if f.json {
				if err := writeJSON(r); err != nil {
					return err
				}
			} else {
				r.Write(os.Stdout, colourful(os.Stdout))
			}
			if f.keep && r.Lab != "" {
				fmt.Fprintf(os.Stderr, "The lab is up: podroute-lab exec --name %s n1 -- bash\nIt ends with: podroute-lab destroy --name %s\n", r.Lab, r.Lab)
			}
			return verdict(f.json, r.Verdict(), r.Pass)
		},
	}
	f.flags(c)
	c.Flags().BoolVar(&f.keep, "keep", false, "leave the lab up, for exploring it")
	return c
}

func failoverCommand() *cobra.Command {
	var f demoFlags
	times := 20
	c := &cobra.Command{
		Use:   "failover",
		Short: "Cut an uplink of the dual-homed node many times and measure the gaps",
		Args:  exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			o, err := f.options()
			if err != nil {
				return err
			}
			if times < 1 {
				return usageError{errors.New("--cuts: at least one")}
			}
			cuts, err := demo.Failover(c.Context(), o, times)
			if err != nil {
				return err
			}
			if f.json {
				if err := writeJSON(cuts); err != nil {
					return err
				}
			}
			text := fmt.Sprintf("longest gaps of %d cuts, both directions, IPv4 and IPv6: 95th percentile %.0f ms, limit %.0f ms", times, cuts.P95, cuts.Limit)
			if cuts.Pass {
				return verdict(f.json, "failover: PASS "+text, true)
			}
			return verdict(f.json, "failover: FAIL "+text, false)
		},
	}
	f.flags(c)
	c.Flags().IntVar(&times, "cuts", times, "how many times")
	return c
}

// verdict is the last line: on standard output, which JSON has to itself.
func verdict(json bool, text string, pass bool) error {
	out := os.Stdout
	if json {
		out = os.Stderr
	}
	colour := "1;32"
	if !pass {
		colour = "1;31"
	}
	fmt.Fprintln(out, paint(out, colour, text))
	if !pass {
		return exitCode(1)
	}
	return nil
}

// stageProgress shows a line for each stage on standard error; on a terminal a stage is shown while
// it runs.
func stageProgress() func(stage, result string, done bool) {
	began := time.Now()
	live := term.IsTerminal(int(os.Stderr.Fd()))
	return func(stage, result string, done bool) {
		switch {
		case !done && live:
			fmt.Fprintf(os.Stderr, "  … %s", stage)
		case done:
			sign := paint(os.Stderr, "32", "✓")
			if strings.HasPrefix(result, "FAILED") {
				sign = paint(os.Stderr, "31", "✗")
			}
			if live {
				fmt.Fprint(os.Stderr, "\r\x1b[K")
			}
			fmt.Fprintf(os.Stderr, "  %s %-8s %s %s\n", sign, stage, result, paint(os.Stderr, "2", fmt.Sprintf("(%.1f s)", time.Since(began).Seconds())))
		}
	}
}

const probeName = "probe"

// probeCommand is what demo and failover run inside nodes.
func probeCommand() *cobra.Command {
	return &cobra.Command{
		Use: probeName, Hidden: true, Args: exactly(),
		RunE: func(*cobra.Command, []string) error { return probe.Serve(os.Stdin, os.Stdout) },
	}
}
