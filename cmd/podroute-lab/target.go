package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/podroute/podroute/internal/lab"
)

// target is the lab that a command is about: by its file or by its name.
type target struct {
	file string
	name string
}

func (t *target) flags(c *cobra.Command) {
	c.Flags().StringVarP(&t.file, "topo", "t", "", "topology file; default: the one *.clab.yml in this folder")
	c.Flags().StringVar(&t.name, "name", "", "name of a running lab, instead of its file")
	_ = c.MarkFlagFilename("topo", "yml", "yaml")
	_ = c.RegisterFlagCompletionFunc("name", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		names, _ := lab.List("")
		return names, cobra.ShellCompDirectiveNoFileComp
	})
}

func (t *target) topology() (*lab.Topology, error) {
	if t.file == "" {
		found, err := filepath.Glob("*.clab.y*ml")
		if err != nil {
			return nil, err
		}
		if len(found) != 1 {
			return nil, usageError{fmt.Errorf("which lab? this folder has %d *.clab.yml files; use -t FILE", len(found))}
		}
		t.file = found[0]
	}
	return lab.Load(t.file)
}

// labName does not insist on a good file: a lab must be destroyable after its file was broken.
func (t *target) labName() (string, error) {
	if t.name != "" {
		return t.name, nil
	}
	top, err := t.topology()
	if err != nil {
		return "", fmt.Errorf("%w\n(--name NAME reaches a running lab without its file)", err)
	}
	return top.Name, nil
}

func (t *target) open() (*lab.Lab, error) {
	name, err := t.labName()
	if err != nil {
		return nil, err
	}
	l, err := lab.Open("", name)
	if errors.Is(err, lab.ErrNoLab) && t.file != "" {
		err = fmt.Errorf("%w; podroute-lab deploy -t %s starts it", err, t.file)
	}
	return l, err
}

// completeNode completes node names as the first argument.
func (t *target) completeNode(_ *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	l, err := t.open()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, n := range l.Topology().Nodes {
		if strings.HasPrefix(n.Name, prefix) {
			names = append(names, n.Name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// exactly is cobra.ExactArgs with the usage exit code.
func exactly(names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != len(names) {
			want := "no arguments"
			if len(names) > 0 {
				want = strings.Join(names, " ")
			}
			return usageError{fmt.Errorf("%s takes %s, not %d arguments", c.CommandPath(), want, len(args))}
		}
		return nil
	}
}
