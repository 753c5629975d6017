package main

import (
	"errors"
	"os"

	"github.com/spf13/cobra"
)

func graphCommand() *cobra.Command {
	var t target
	var mermaid, dot bool
	c := &cobra.Command{
		Use:   "graph -t FILE.clab.yml",
		Short: "Draw a topology",
		Args:  exactly(),
		RunE: func(_ *cobra.Command, _ []string) error {
			if mermaid && dot {
				return usageError{errors.New("either --mermaid or --dot")}
			}
			top, err := t.topology()
			if err != nil {
				return err
			}
			draw := top.Draw
			switch {
			case mermaid:
				draw = top.Mermaid
			case dot:
				draw = top.Dot
			}
			_, err = os.Stdout.WriteString(draw())
			return err
		},
	}
	t.flags(c)
	_ = c.Flags().MarkHidden("name")
	c.Flags().BoolVar(&mermaid, "mermaid", false, "as a Mermaid diagram")
	c.Flags().BoolVar(&dot, "dot", false, "as a Graphviz graph")
	return c
}
