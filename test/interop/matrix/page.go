package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// The marks between which the page holds the table.
const (
	begin = "<!-- make interop writes what follows -->\n"
	end   = "<!-- and this is its end -->\n"
)

// markdown is the table, a row a feature, with the reasons under it.
func markdown(cells []cell) string {
	var features, daemons, notes []string
	by := map[[2]string]cell{}
	for _, c := range cells {
		by[[2]string{c.Feature, c.Daemon}] = c
		if !slices.Contains(features, c.Feature) {
			features = append(features, c.Feature)
		}
		if !slices.Contains(daemons, c.Daemon) {
			daemons = append(daemons, c.Daemon)
		}
	}
	slices.Sort(daemons)
	var s strings.Builder
	fmt.Fprintf(&s, "| | %s |\n|---|%s\n", strings.Join(daemons, " | "), strings.Repeat("---|", len(daemons)))
	for _, f := range features {
		fmt.Fprintf(&s, "| %s |", f)
		for _, d := range daemons {
			c, ok := by[[2]string{f, d}]
			text := c.Result
			switch {
			case !ok:
				text = "not tried"
			case c.Result == lacked:
				if !slices.Contains(notes, c.Why) {
					notes = append(notes, c.Why)
				}
				text = fmt.Sprintf("lacks it (%d)", slices.Index(notes, c.Why)+1)
			}
			fmt.Fprintf(&s, " %s |", text)
		}
		s.WriteString("\n")
	}
	if notes != nil {
		s.WriteString("\n")
	}
	for i, n := range notes {
		fmt.Fprintf(&s, "%d. %s\n", i+1, n)
	}
	return s.String()
}

// figures are what has been measured in cells that passed, a line each. They differ from run to run, so they are no part of the page.
func figures(cells []cell) string {
	var s strings.Builder
	for _, c := range cells {
		if c.Result == passed && c.Why != "" {
			fmt.Fprintf(&s, "%s, %s: %s\n", c.Feature, c.Daemon, c.Why)
		}
	}
	return s.String()
}

// split cuts a page at its marks: what stands before the table, the table, and what stands after it.
func split(page, text string) (head, table, tail string, err error) {
	head, rest, ok := strings.Cut(text, begin)
	table, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return "", "", "", fmt.Errorf("%s has not the two marks", page)
	}
	return head, table, tail, nil
}

// difference are the lines that only one of two tables has.
func difference(page, tests string) string {
	if page == tests {
		return ""
	}
	var s strings.Builder
	mark := func(sign, here, there string) {
		for line := range strings.Lines(here) {
			if !slices.Contains(slices.Collect(strings.Lines(there)), line) {
				s.WriteString(sign + line)
			}
		}
	}
	mark("only the page has:  ", page, tests)
	mark("only the tests have: ", tests, page)
	if s.Len() == 0 {
		s.WriteString("the same lines, in another order or number\n")
	}
	return s.String()
}

// update puts the table into the page, and fails if another one stood there.
func update(page, table string) error {
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	head, old, tail, err := split(page, string(text))
	if err != nil {
		return err
	}
	if want := "\n" + table + "\n"; old != want {
		if err := os.WriteFile(page, []byte(head+begin+want+end+tail), 0o644); err != nil {
			return err
		}
		return fmt.Errorf("%s said something else: it was written anew; commit it", page)
	}
	return nil
}
