package upstream

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/podroute/podroute/test/e2e/cluster"
	"github.com/podroute/podroute/test/e2e/report"
)

// Focus is the set that every network implementation has to pass, and Specs its size in this release.
const (
	Focus = `\[sig-network\].*\[Conformance\]`
	Specs = 45
)

// Run runs the tests that match focus in procs processes. The log goes to logs/upstream.log below
// the cluster's folder. Tests that fail are no error.
func Run(ctx context.Context, c *cluster.Cluster, bin, focus string, procs int) ([]report.Case, error) {
	const junit = "upstream.xml" // every test of the release is in it, nearly all skipped
	if err := os.Remove(filepath.Join(c.Logs(), junit)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	// From the control plane's machine, which reaches nodes and pods as an operator's would.
	cmd, err := c.Lab().Command(ctx, cluster.MachineControlPlane, "ginkgo", "-procs="+strconv.Itoa(procs), "--no-color",
		"--timeout=25m", "--focus="+focus, "--junit-report="+junit, "--output-dir="+c.Logs(),
		filepath.Join(bin, "e2e.test"), "--",
		"--provider=skeleton", "--kubeconfig="+c.InsideKubeconfig(), "--kubectl-path="+filepath.Join(bin, "kubectl"),
		"--num-nodes="+strconv.Itoa(len(cluster.Nodes())), "--allowed-not-ready-nodes=0",
		"--system-pods-startup-timeout=60s", "--node-schedulable-timeout=60s")
	if err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(c.Logs(), "upstream.log"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = log, log, time.Second
	ran := cmd.Run()
	var exit *exec.ExitError
	if ran != nil && !errors.As(ran, &exit) {
		return nil, fmt.Errorf("ginkgo: %w", ran)
	}
	cases, err := read(filepath.Join(c.Logs(), junit))
	if err == nil && len(cases) == 0 {
		err = errors.New("no test ran")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("upstream's tests: %w; see %s", err, log.Name()), ran)
	}
	return cases, nil
}

// read takes the tests that ran, and what failed beside them, from ginkgo's report.
func read(file string) (cases []report.Case, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	type problem struct {
		Text string `xml:"message,attr"`
	}
	var junit struct {
		Suites []struct {
			Cases []struct {
				Name    string   `xml:"name,attr"`
				Status  string   `xml:"status,attr"`
				Seconds float64  `xml:"time,attr"`
				Failure *problem `xml:"failure"` // an assertion
				Error   *problem `xml:"error"`   // a panic, an interruption, a time-out
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(text, &junit); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	for _, s := range junit.Suites {
		for _, t := range s.Cases {
			c := report.Case{Name: t.Name, Took: time.Duration(t.Seconds * float64(time.Second))}
			switch {
			case t.Failure != nil:
				c.Failure = t.Failure.Text
			case t.Error != nil:
				c.Failure = t.Error.Text
			case t.Status != "passed" || !strings.HasPrefix(t.Name, "[It]"):
				continue // not chosen, or what comes before and after all tests
			}
			cases = append(cases, c)
		}
	}
	return cases, nil
}
