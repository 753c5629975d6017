package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/podroute/podroute/internal/lab"
)

func deployCommand() *cobra.Command {
	var t target
	var o lab.Options
	c := &cobra.Command{
		Use:     "deploy -t FILE.clab.yml",
		Aliases: []string{"dep"},
		Short:   "Start a lab; it runs until destroy or the next boot",
		Args:    exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			top, err := t.topology()
			if err != nil {
				return err
			}
			for _, n := range top.Notes {
				note(n)
			}
			o.Progress = progress
			_, err = lab.Deploy(c.Context(), top, o)
			return err
		},
	}
	t.flags(c)
	_ = c.Flags().MarkHidden("name")
	c.Flags().BoolVarP(&o.Reconfigure, "reconfigure", "c", false, "replace a running lab of that name")
	return c
}

func destroyCommand() *cobra.Command {
	var t target
	var all bool
	c := &cobra.Command{
		Use:     "destroy -t FILE.clab.yml | --name LAB | --all",
		Aliases: []string{"des"},
		Short:   "End a lab, or what is left of one; ending what is not there is fine",
		Args:    exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			var names []string
			var err error
			if all {
				names, err = lab.List("")
			} else {
				names = make([]string, 1)
				names[0], err = t.labName()
			}
			if err != nil {
				return err
			}
			var errs []error
			for _, n := range names {
				existed, err := lab.Destroy(c.Context(), "", n)
				errs = append(errs, err)
				if err == nil && existed {
					progress("lab " + n + " is gone")
				}
			}
			return errors.Join(errs...)
		},
	}
	t.flags(c)
	c.Flags().BoolVarP(&all, "all", "a", false, "all labs")
	return c
}
