package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/podroute/podroute/internal/lab"
)

type execFlags struct {
	target
	cmds   []string
	nodes  []string
	labels []string
	format string
}

func execCommand() *cobra.Command {
	var f execFlags
	c := &cobra.Command{
		Use:   "exec -t FILE.clab.yml NODE -- PROGRAM ARGS | exec -t FILE.clab.yml --cmd 'PROGRAM ARGS'",
		Short: "Run a program in a node with this terminal, or command lines in several nodes",
		Example: `  podroute-lab exec -t two-racks.clab.yml n1 -- bash
  podroute-lab exec -t two-racks.clab.yml --cmd 'ip route' --label role=tor`,
		ValidArgsFunction: f.completeNode,
		RunE: func(c *cobra.Command, args []string) error {
			switch {
			case len(f.cmds) > 0 && len(args) == 0:
				return f.lines(c)
			case len(f.cmds) == 0 && len(args) >= 2:
				return f.program(args[0], args[1:])
			}
			return usageError{errors.New("give either NODE -- PROGRAM ARGS, or --cmd")}
		},
	}
	c.Flags().SetInterspersed(true)
	f.flags(c)
	c.Flags().StringArrayVar(&f.cmds, "cmd", nil, "command line to run in every selected node; may be repeated")
	c.Flags().StringArrayVar(&f.nodes, "node", nil, "select a node by name; may be repeated")
	c.Flags().StringArrayVar(&f.labels, "label", nil, "select nodes by a label, KEY=VALUE; may be repeated")
	c.Flags().StringVarP(&f.format, "format", "f", "plain", "plain or json")
	return c
}

// program turns this process into the program: its terminal, signals and exit code are then the
// program's own.
func (f *execFlags) program(node string, argv []string) error {
	l, err := f.open()
	if err != nil {
		return err
	}
	line, env, err := l.CommandLine(node, argv)
	if err != nil {
		return err
	}
	path, err := exec.LookPath(line[0])
	if err != nil {
		return fmt.Errorf("%w (it is part of util-linux)", err)
	}
	return fmt.Errorf("%s: %w", path, syscall.Exec(path, line, env))
}

// outcome of one command line in one node; the keys are containerlab's.
type outcome struct {
	Cmd    []string `json:"cmd"`
	Code   int      `json:"return-code"`
	Stdout string   `json:"stdout"`
	Stderr string   `json:"stderr"`
}

func (f *execFlags) lines(c *cobra.Command) error {
	if f.format != "plain" && f.format != "json" {
		return usageError{fmt.Errorf("--format %q: plain or json", f.format)}
	}
	l, err := f.open()
	if err != nil {
		return err
	}
	nodes, err := f.selected(l)
	if err != nil {
		return err
	}
	all := map[string][]outcome{}
	failed := false
	for _, n := range nodes {
		for _, cmd := range f.cmds {
			argv, err := lab.Split(cmd)
			if err != nil || len(argv) == 0 {
				return usageError{fmt.Errorf("--cmd %q: %w", cmd, errors.Join(err, errIf(len(argv) == 0, "empty")))}
			}
			r, err := l.Exec(c.Context(), n, argv...)
			if err != nil {
				return err
			}
			failed = failed || r.Code != 0
			all[n] = append(all[n], outcome{argv, r.Code, r.Stdout, r.Stderr})
			if f.format == "plain" {
				fmt.Fprintf(os.Stderr, "%s %s\n", paint(os.Stderr, "36", n+":"), cmd)
				fmt.Fprint(os.Stdout, r.Stdout)
				fmt.Fprint(os.Stderr, r.Stderr)
			}
		}
	}
	if f.format == "json" {
		if err := writeJSON(all); err != nil {
			return err
		}
	}
	if failed {
		return exitCode(1)
	}
	return nil
}

func errIf(cond bool, text string) error {
	if cond {
		return errors.New(text)
	}
	return nil
}

// selected nodes, in the order of the file: all that match every label and, if any are named, are named.
func (f *execFlags) selected(l *lab.Lab) ([]string, error) {
	var names []string
	for _, n := range l.Topology().Nodes {
		ok := len(f.nodes) == 0 || slices.Contains(f.nodes, n.Name)
		for _, label := range f.labels {
			key, want, _ := strings.Cut(label, "=")
			have, has := n.Labels[key]
			ok = ok && has && have == want
		}
		if ok {
			names = append(names, n.Name)
		}
	}
	for _, n := range f.nodes {
		if _, ok := l.Topology().Node(n); !ok {
			return nil, fmt.Errorf("lab %s has no node %q", l.Name(), n)
		}
	}
	if len(names) == 0 {
		return nil, errors.New("no node matches")
	}
	return names, nil
}

func writeJSON(v any) error {
	e := json.NewEncoder(os.Stdout)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
