package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/podroute/podroute/routes"
)

func newDoctor() *cobra.Command {
	return &cobra.Command{
		Use: "doctor", Short: "Check this host, name what is wrong and how to mend it", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			findings, err := routes.CheckHost(c.Context())
			if err != nil {
				return fmt.Errorf("check the host: %w", err)
			}
			return printFindings(c.OutOrStdout(), findings)
		},
	}
}

func printFindings(out io.Writer, findings []routes.Finding) error {
	if len(findings) == 0 {
		_, err := fmt.Fprintln(out, "The host is fine.")
		return err
	}
	w := tabwriter.NewWriter(out, 0, 8, 3, ' ', 0)
	fmt.Fprintln(w, "SETTING\tHAVE\tWANT\tMEND")
	for _, f := range findings {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", f.Setting, f.Have, f.Want, f.Mend)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return errNotReady
}
