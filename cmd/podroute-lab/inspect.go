package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/podroute/podroute/internal/lab"
)

// nodeView is a line of inspect.
type nodeView struct {
	Lab       string   `json:"lab_name"`
	File      string   `json:"labPath"`
	Name      string   `json:"name"`
	Kind      string   `json:"kind"`
	Image     string   `json:"image"`
	State     string   `json:"state"` // running, idle (no cmd), ended: ..., gone
	PID       int      `json:"pid,omitempty"`
	NetNS     string   `json:"netns,omitempty"`
	Addresses []string `json:"addresses"`
}

func inspectCommand() *cobra.Command {
	var t target
	var all bool
	format := "table"
	c := &cobra.Command{
		Use:     "inspect -t FILE.clab.yml | --name LAB | --all",
		Aliases: []string{"ins"},
		Short:   "Show the nodes of a running lab",
		Args:    exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			views, err := inspect(c.Context(), &t, all)
			if err != nil {
				return err
			}
			switch format {
			case "table":
				return writeTable(views)
			case "json":
				return writeJSON(views)
			case "yaml":
				text, err := yaml.Marshal(views)
				if err != nil {
					return err
				}
				_, err = os.Stdout.Write(text)
				return err
			}
			return usageError{fmt.Errorf("-o %q: table, json or yaml", format)}
		},
	}
	t.flags(c)
	c.Flags().BoolVarP(&all, "all", "a", false, "all labs")
	c.Flags().StringVarP(&format, "output", "o", format, "table, json or yaml")
	c.Flags().StringVarP(&format, "format", "f", format, "as --output")
	_ = c.Flags().MarkHidden("format")
	return c
}

func inspect(ctx context.Context, t *target, all bool) ([]nodeView, error) {
	if !all {
		l, err := t.open()
		if err != nil {
			return nil, err
		}
		return viewLab(ctx, l), nil
	}
	names, err := lab.List("")
	if err != nil {
		return nil, err
	}
	views := []nodeView{}
	for _, n := range names {
		l, err := lab.Open("", n)
		if err != nil {
			note(err.Error())
			continue
		}
		views = append(views, viewLab(ctx, l)...)
	}
	return views, nil
}

func viewLab(ctx context.Context, l *lab.Lab) []nodeView {
	var views []nodeView
	for _, n := range l.Topology().Nodes {
		v := nodeView{Lab: l.Name(), File: l.Topology().File, Name: n.Name, Kind: n.Kind, Image: n.Image, Addresses: []string{}}
		st, err := l.Status(ctx, n.Name)
		switch {
		case err != nil:
			v.State = "gone"
		case st.Running:
			v.State = "running"
		case st.Ended != "":
			v.State = "ended: " + st.Ended
		default:
			v.State = "idle"
		}
		v.Addresses = append(v.Addresses, st.Addresses...)
		if pid, err := l.PID(n.Name); err == nil {
			v.PID = pid
			v.NetNS, _ = l.NetNS(n.Name)
		}
		views = append(views, v)
	}
	slices.SortStableFunc(views, func(a, b nodeView) int { return cmp.Compare(a.Lab, b.Lab) })
	return views
}

func writeTable(views []nodeView) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "LAB\tNODE\tKIND\tSTATE\tPID\tADDRESSES")
	for _, v := range views {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\n", v.Lab, v.Name, v.Kind, v.State, v.PID, strings.Join(v.Addresses, " "))
	}
	return w.Flush()
}
