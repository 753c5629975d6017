package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// event is a line of `go test -json`; see `go doc test2json` and, for the build- actions, `go help
// buildjson`.
type event struct {
	Action     string
	Package    string
	Test       string
	Output     string
	Elapsed    float64 // seconds
	ImportPath string  // of build- actions
}

// key names a test, or with an empty test the package itself.
type key struct{ pkg, test string }

func (k key) String() string {
	return strings.TrimSuffix(k.pkg+"."+k.test, ".")
}

// timed is a test and how long it took.
type timed struct {
	key
	took time.Duration
}

// summary collects the events of any number of runs.
type summary struct {
	w                       io.Writer
	passed, failed, skipped int
	output                  map[key][]string    // of tests and packages under way
	failedIn                map[string]int      // failed tests by package
	build                   map[string][]string // compiler's output by import path
	slow                    []timed
	skips                   []string
	failures                []key    // an empty test: the package itself
	again                   []string // what failed at first, and passed alone
}

func newSummary(w io.Writer) *summary {
	return &summary{w: w, output: map[key][]string{}, failedIn: map[string]int{}, build: map[string][]string{}}
}

// read takes in events until r ends. A line that is no event is passed through.
func (s *summary) read(r io.Reader) error {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			var e event
			if json.Unmarshal([]byte(line), &e) == nil {
				s.take(e)
			} else {
				fmt.Fprint(s.w, line)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("output of go test: %w", err)
		}
	}
}

func (s *summary) take(e event) {
	k := key{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		s.build[e.ImportPath] = append(s.build[e.ImportPath], e.Output)
		return
	case "build-fail":
		fmt.Fprint(s.w, strings.Join(s.build[e.ImportPath], ""))
		return
	case "output":
		s.output[k] = append(s.output[k], e.Output)
		return
	case "pass", "fail", "skip":
	default:
		return
	}
	if e.Test == "" {
		s.endPackage(e)
	} else {
		s.endTest(e)
	}
	delete(s.output, k)
}

func (s *summary) endTest(e event) {
	name := e.Package + "." + e.Test
	k := key{e.Package, e.Test}
	switch e.Action {
	case "pass":
		s.passed++
	case "skip":
		s.skipped++
		s.skips = append(s.skips, name)
		fmt.Fprint(s.w, strings.Join(s.output[k], ""))
	case "fail":
		s.failed++
		s.failedIn[e.Package]++
		s.failures = append(s.failures, k)
		fmt.Fprint(s.w, strings.Join(s.output[k], ""))
	}
	if !strings.Contains(e.Test, "/") {
		s.slow = append(s.slow, timed{k, time.Duration(e.Elapsed * float64(time.Second))})
	}
}

// endPackage prints a package's line. A package may fail without a failed test: it did not build,
// ran into its time limit, or its process died; that counts as one failure, shown with all there is.
func (s *summary) endPackage(e event) {
	if e.Action == "skip" {
		return // no test files
	}
	if e.Action == "fail" && s.failedIn[e.Package] == 0 {
		s.failed++
		s.failures = append(s.failures, key{e.Package, ""})
		for k, lines := range s.output {
			if k.pkg == e.Package && k.test != "" {
				fmt.Fprint(s.w, strings.Join(lines, "")) // tests that were cut short
			}
		}
		fmt.Fprint(s.w, strings.Join(s.output[key{e.Package, ""}], ""))
	}
	fmt.Fprintf(s.w, "%-4s %7.1fs  %s\n", e.Action, e.Elapsed, e.Package)
}

// finish prints the closing lines and reports whether the run is good.
func (s *summary) finish(inCI bool) bool {
	const slowest, worthNaming = 10, 2 * time.Second
	slices.SortFunc(s.slow, func(a, b timed) int { return cmp.Compare(b.took, a.took) })
	for i, t := range s.slow {
		if i == slowest || t.took < worthNaming {
			break
		}
		fmt.Fprintf(s.w, "slow %7.1fs  %s.%s\n", t.took.Seconds(), t.pkg, t.test)
	}
	for _, name := range s.skips {
		fmt.Fprintf(s.w, "skipped: %s\n", name)
	}
	for _, name := range s.again {
		fmt.Fprintf(s.w, "failed among the others, passed alone: %s\n", name)
	}
	for _, k := range s.failures {
		fmt.Fprintf(s.w, "FAILED: %s\n", k)
	}
	if s.passed+s.failed+s.skipped == 0 {
		fmt.Fprintln(s.w, "no test ran")
	}
	if inCI && s.skipped > 0 {
		fmt.Fprintln(s.w, "a skipped test is a failure where CI=true")
	}
	fmt.Fprintf(s.w, "%d passed, %d failed, %d skipped\n", s.passed, s.failed, s.skipped)
	return s.failed == 0 && s.passed > 0 && (!inCI || s.skipped == 0)
}

// forgive counts a top-level test that failed, and its subtests, among those that passed.
func (s *summary) forgive(k key) {
	s.failures = slices.DeleteFunc(s.failures, func(f key) bool {
		top, _, _ := strings.Cut(f.test, "/")
		if f.pkg != k.pkg || top != k.test {
			return false
		}
		s.failed--
		s.passed++
		return true
	})
	s.again = append(s.again, k.String())
}
