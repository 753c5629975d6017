package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestMain also serves as the program that this package starts again (Reexec), and as a deployer of
// its own for tests that kill it.
func TestMain(m *testing.M) {
	if code, ran := Reexec(); ran {
		os.Exit(code)
	}
	if len(os.Args) > 1 && os.Args[1] == "deploy-and-exit" {
		os.Exit(deployAndExit(os.Args[2], os.Args[3]))
	}
	os.Exit(m.Run())
}

// deployAndExit is a deployer in a process of its own.
func deployAndExit(file, stateDir string) int {
	top, err := Load(file)
	if err == nil {
		_, err = Deploy(context.Background(), top, Options{StateDir: stateDir})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// topology writes a file with the body of a topology below a name of the test's own, and loads it.
func topology(t *testing.T, body string) *Topology {
	t.Helper()
	file := topologyFileOf(t, body)
	top, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	return top
}

func topologyFileOf(t *testing.T, body string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "lab.clab.yml")
	if err := os.WriteFile(file, []byte("name: "+labName(t)+"\ntopology:\n"+body), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// labName is a name that no other test, and no other run of this one, has.
func labName(t *testing.T) string {
	return strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name())) + fmt.Sprintf("-%d", os.Getpid())
}

// deployed starts a lab and checks at the end of the test that destroying it leaves nothing.
func deployed(t *testing.T, body string) *Lab {
	t.Helper()
	state := t.TempDir()
	l, err := Deploy(testContext(t), topology(t, body), Options{StateDir: state})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		pids := inhabitants(t, l)
		if len(pids) < len(l.record.Nodes) {
			t.Errorf("%d processes in %d nodes before the end", len(pids), len(l.record.Nodes))
		}
		if t.Failed() {
			for _, n := range l.record.Nodes {
				text, _ := os.ReadFile(l.LogFile(n.Name))
				t.Logf("log of %s:\n%s", n.Name, text)
			}
		}
		if err := l.Destroy(testContext(t)); err != nil {
			t.Error(err)
		}
		for _, p := range pids {
			if p.alive() {
				t.Errorf("process %d outlives its lab", p.PID)
			}
		}
		nothingLeft(t, state, l.Name())
	})
	return l
}

// inhabitants are all processes in a lab's PID namespaces.
func inhabitants(t *testing.T, l *Lab) []nodeRecord {
	t.Helper()
	spaces := map[string]bool{}
	for _, n := range l.record.Nodes {
		if ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", n.PID)); err == nil {
			spaces[ns] = true
		}
	}
	var out []nodeRecord
	for _, pid := range processes(t) {
		ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid))
		if start, serr := startTime(pid); err == nil && serr == nil && spaces[ns] {
			out = append(out, nodeRecord{process: process{pid, start}})
		}
	}
	return out
}

func processes(t *testing.T) []int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, e := range entries {
		var pid int
		if _, err := fmt.Sscanf(e.Name(), "%d", &pid); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// nothingLeft: no process that names the lab, no folder, no mount of it.
func nothingLeft(t *testing.T, state, lab string) {
	t.Helper()
	within(t, 5*time.Second, func() error { // a killed process is seen for a moment longer
		for _, pid := range processes(t) {
			line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			if pid != os.Getpid() && bytes.Contains(line, []byte(lab)) {
				return fmt.Errorf("process %d is left: %q", pid, bytes.ReplaceAll(line, []byte{0}, []byte{' '}))
			}
		}
		return nil
	})
	if entries, err := os.ReadDir(state); err == nil && len(entries) > 0 {
		t.Errorf("left in the state directory: %v", entries)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(mounts, []byte(lab)) {
		t.Errorf("a mount of the lab is left:\n%s", mounts)
	}
}

func within(t *testing.T, d time.Duration, cond func() error) {
	t.Helper()
	deadline := time.Now().Add(d)
	for {
		err := cond()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %v", d, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// output runs a program in a node, which must succeed, and returns what it printed, trimmed.
func output(t *testing.T, l *Lab, node string, argv ...string) string {
	t.Helper()
	out, err := l.Run(testContext(t), node, argv...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

func exitCode(t *testing.T, err error) int {
	t.Helper()
	var e *exec.ExitError
	if err != nil && !errors.As(err, &e) {
		t.Fatal(err)
	}
	if e == nil {
		return 0
	}
	if s, ok := e.Sys().(interface{ Signaled() bool }); ok && s.Signaled() {
		return -1
	}
	return e.ExitCode()
}
