package demo

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// Report is what the demo found. Pairs are ordered pairs of pods; one is reached when the server
// answered over IPv4 and over IPv6. Natted counts flows of which the server saw another address than
// the client's own, Encapsulated counts packets between nodes whose outermost IP header was not that
// of the flow itself.
type Report struct {
	Pass         bool    `json:"pass"`
	Router       string  `json:"router"`
	Nodes        int     `json:"nodes"`
	Pods         int     `json:"pods"`
	Pairs        int     `json:"pairs"`
	Reached      int     `json:"reached"`
	Natted       int     `json:"natted"`
	Encapsulated int     `json:"encapsulated"`
	Events       []Event `json:"events"`
	Took         float64 `json:"took_s"` // seconds

	// Lab is the name under which it ran.
	Lab string `json:"-"`
	// Proofs are the lines of the table above the events.
	Proofs []Proof `json:"-"`
	// Failures are all reasons for which Pass is false.
	Failures []string `json:"-"`
}

// Event is something broken under running pings. LongestGap is in milliseconds: the longest time
// between two probes of one ping that were answered, with lost ones in between.
type Event struct {
	Name       string  `json:"name"`
	Sent       int     `json:"sent"`
	Lost       int     `json:"lost"`
	LongestGap float64 `json:"longest_gap_ms"`

	limit string // what is promised, for the table
	ok    bool
}

// Proof is something shown to hold: so many of so many, in words.
type Proof struct {
	Name, Result string
	OK           bool
}

func (r *Report) prove(ok bool, name, format string, args ...any) {
	result := fmt.Sprintf(format, args...)
	r.Proofs = append(r.Proofs, Proof{name, result, ok})
	if !ok {
		r.fail("%s: %s", name, result)
	}
}

func (r *Report) fail(format string, args ...any) {
	r.Failures = append(r.Failures, fmt.Sprintf(format, args...))
}

// Write draws the tables. colour paints with ANSI sequences.
func (r *Report) Write(w io.Writer, colour bool) {
	p := painter(colour)
	proofs := [][]string{{"", "proved", "result"}}
	for _, x := range r.Proofs {
		proofs = append(proofs, []string{p.mark(x.OK), x.Name, x.Result})
	}
	events := [][]string{{"", "broken under a ping every 10 ms", "sent", "lost", "longest gap", "promised"}}
	for _, e := range r.Events {
		gap := "–"
		if e.LongestGap > 0 {
			gap = fmt.Sprintf("%.0f ms", e.LongestGap)
		}
		events = append(events, []string{p.mark(e.ok), e.Name, fmt.Sprint(e.Sent), fmt.Sprint(e.Lost), gap, e.limit})
	}
	fmt.Fprintln(w)
	if len(r.Proofs) > 0 {
		table(w, p, proofs, 3)
	}
	if len(r.Events) > 0 {
		table(w, p, events, 2)
	}
	fmt.Fprintf(w, "%d nodes, %d pods, routers: %s, %.1f s\n", r.Nodes, r.Pods, r.Router, r.Took)
}

// Verdict is the last line: PASS, or FAIL and why.
func (r *Report) Verdict() string {
	if r.Pass {
		return "demo: PASS"
	}
	return "demo: FAIL " + strings.Join(r.Failures, "; ")
}

type painter bool

func (p painter) paint(code, text string) string {
	if !p {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (p painter) mark(ok bool) string {
	if ok {
		return p.paint("32", "✓")
	}
	return p.paint("31", "✗")
}

// table draws rows, the first of which is the heading; columns from right on are aligned right.
func table(w io.Writer, p painter, rows [][]string, right int) {
	widths := make([]int, len(rows[0]))
	for _, r := range rows {
		for i, c := range r {
			widths[i] = max(widths[i], visible(c))
		}
	}
	rule := func(l, m, r string) {
		cells := make([]string, len(widths))
		for i, n := range widths {
			cells[i] = strings.Repeat("─", n+2)
		}
		fmt.Fprintln(w, p.paint("2", l+strings.Join(cells, m)+r))
	}
	bar := p.paint("2", "│")
	rule("┌", "┬", "┐")
	for i, r := range rows {
		var line strings.Builder
		for j, c := range r {
			pad := strings.Repeat(" ", widths[j]-visible(c))
			if i == 0 {
				c = p.paint("1", c)
			}
			if j >= right {
				c = pad + c
			} else {
				c += pad
			}
			line.WriteString(bar + " " + c + " ")
		}
		fmt.Fprintln(w, line.String()+bar)
		if i == 0 {
			rule("├", "┼", "┤")
		}
	}
	rule("└", "┴", "┘")
}

// visible is the number of columns that a text takes on a terminal.
func visible(s string) int {
	n, escape := 0, false
	for _, r := range s {
		switch {
		case r == '\x1b':
			escape = true
		case escape:
			escape = r != 'm'
		default:
			n++
		}
	}
	return n
}

func seconds(d time.Duration) float64 { return float64(d.Milliseconds()) / 1000 }
