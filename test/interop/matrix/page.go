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

// update puts the table into the page, and fails if another one stood there.
func update(page, table string) error {
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	head, rest, ok := strings.Cut(string(text), begin)
	old, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return fmt.Errorf("%s has not the two marks", page)
	}
	if want := "\n" + table + "\n"; old != want {
		if err := os.WriteFile(page, []byte(head+begin+want+end+tail), 0o644); err != nil {
			return err
		}
		return fmt.Errorf("%s said something else: it was written anew; commit it", page)
	}
	return nil
}
