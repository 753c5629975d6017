package report

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// Case is one test that ran. Failure is empty if it passed. Notes are the figures it measured.
type Case struct {
	Name    string
	Shows   string
	Took    time.Duration
	Notes   []string
	Failure string
	Skipped string // why it did not run, or empty
}

// Counts of a list of cases.
type Counts struct {
	Passed  int `json:"passed"`
	Failed  int `json:"failed"`
	Skipped int `json:"skipped"`
}

// Count counts.
func Count(cases []Case) (n Counts) {
	for _, c := range cases {
		switch {
		case c.Failure != "":
			n.Failed++
		case c.Skipped != "":
			n.Skipped++
		default:
			n.Passed++
		}
	}
	return n
}

// Add adds those of other cases.
func (n *Counts) Add(more Counts) {
	n.Passed += more.Passed
	n.Failed += more.Failed
	n.Skipped += more.Skipped
}

// Summary is summary.json. Upstream is absent if it was not asked for. Times are in seconds.
type Summary struct {
	Counts
	Upstream *UpstreamCounts    `json:"upstream,omitempty"`
	Took     float64            `json:"took_s"`
	Parts    map[string]float64 `json:"parts_s,omitempty"`
}

// UpstreamCounts are those of upstream's tests.
type UpstreamCounts struct {
	Passed int `json:"passed"`
	Failed int `json:"failed"`
}

// Write writes the summary.
func (s Summary) Write(file string) error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}

type junitCase struct {
	Name    string        `xml:"name,attr"`
	Class   string        `xml:"classname,attr"`
	Seconds float64       `xml:"time,attr"`
	Failure *junitProblem `xml:"failure,omitempty"`
	Skipped *junitProblem `xml:"skipped,omitempty"`
	Out     string        `xml:"system-out,omitempty"`
}

type junitProblem struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

type junitSuite struct {
	XMLName  xml.Name    `xml:"testsuite"`
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Seconds  float64     `xml:"time,attr"`
	Cases    []junitCase `xml:"testcase"`
}

// JUnit writes the cases as one suite of JUnit's XML.
func JUnit(file, suite string, cases []Case) error {
	n := Count(cases)
	s := junitSuite{Name: suite, Tests: len(cases), Failures: n.Failed, Skipped: n.Skipped}
	for _, c := range cases {
		j := junitCase{Name: c.Name, Class: suite, Seconds: c.Took.Seconds()}
		j.Out = strings.Join(append([]string{c.Shows}, c.Notes...), "\n")
		if c.Failure != "" {
			j.Failure = &junitProblem{Message: firstLine(c.Failure), Text: c.Failure}
		}
		if c.Skipped != "" {
			j.Skipped = &junitProblem{Message: c.Skipped}
		}
		s.Seconds += j.Seconds
		s.Cases = append(s.Cases, j)
	}
	text, err := xml.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append([]byte(xml.Header), append(text, '\n')...), 0o644)
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// Line prints one case as a line of the table, and below it the notes and why it failed.
func Line(w io.Writer, c Case) {
	mark := "✓"
	switch {
	case c.Failure != "":
		mark = "✗"
	case c.Skipped != "":
		mark = "-"
	}
	fmt.Fprintf(w, "  %s %-62s %6.1f s\n", mark, c.Shows, c.Took.Seconds())
	for _, n := range c.Notes {
		fmt.Fprintf(w, "      %s\n", n)
	}
	switch {
	case c.Failure != "":
		fmt.Fprintf(w, "      %s: %s\n", c.Name, strings.ReplaceAll(c.Failure, "\n", "\n      "))
	case c.Skipped != "":
		fmt.Fprintf(w, "      %s: not run: %s\n", c.Name, c.Skipped)
	}
}
