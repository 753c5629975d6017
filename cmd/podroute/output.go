package main

import (
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"golang.org/x/term"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"sigs.k8s.io/yaml"
)

// printer writes one answer in the format asked for.
type printer struct {
	out    io.Writer
	format string
	colour bool
}

// newPrinter writes to out; in colour only where that is a terminal and NO_COLOR is not set.
func newPrinter(out io.Writer, format string) *printer {
	p := &printer{out: out, format: format}
	if f, ok := out.(*os.File); ok {
		p.colour = term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == ""
	}
	return p
}

// forPeople says whether the format asked for is a table.
func (p *printer) forPeople() bool { return p.format != "json" && p.format != "yaml" }

// message writes m as JSON or YAML, or calls table for a person.
func (p *printer) message(m proto.Message, table func(w io.Writer)) error {
	if p.forPeople() {
		w := tabwriter.NewWriter(p.out, 0, 8, 3, ' ', 0)
		table(w)
		return w.Flush()
	}
	b, err := protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true, Multiline: true, Indent: "  "}.Marshal(m)
	if err != nil {
		return fmt.Errorf("write as JSON: %w", err)
	}
	if p.format == "yaml" {
		if b, err = yaml.JSONToYAML(b); err != nil {
			return fmt.Errorf("write as YAML: %w", err)
		}
		_, err = p.out.Write(b)
		return err
	}
	_, err = fmt.Fprintf(p.out, "%s\n", b)
	return err
}

// Colours of a terminal (ECMA-48). All cells of a column are coloured, or none, so that columns line up.
const (
	green  = "32"
	yellow = "33"
	red    = "31"
	plain  = "39"
)

// paint colours s where the output is a terminal.
func (p *printer) paint(colour, s string) string {
	if !p.colour {
		return s
	}
	return "\x1b[" + colour + "m" + s + "\x1b[39m"
}

// age reads an RFC 3339 time as "3h12m".
func age(stamp string) string {
	t, err := time.Parse(time.RFC3339, stamp)
	if err != nil {
		return "-"
	}
	d := time.Since(t).Round(time.Second)
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%dd%dh", int(d.Hours())/24, int(d.Hours())%24)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%dm", int(d.Hours()), int(d.Minutes())%60)
	case d >= time.Minute:
		return fmt.Sprintf("%dm%ds", int(d.Minutes()), int(d.Seconds())%60)
	default:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	}
}

// orDash is s, or "-" in its place.
func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
