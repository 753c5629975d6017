package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// Lab is a lab that was deployed, by this process or another.
type Lab struct {
	dir    string
	record record
}

// Kinds of errors, for errors.Is.
var (
	ErrNoLab  = errors.New("no such lab")
	ErrExists = errors.New("lab exists")
)

// stateError is an error of one of the kinds above with a text of its own.
type stateError struct {
	kind error
	text string
}

func (e stateError) Error() string { return e.text }
func (e stateError) Unwrap() error { return e.kind }

// Open finds a running lab by its name. stateDir may be empty: StateDir().
func Open(stateDir, name string) (*Lab, error) {
	if stateDir == "" {
		stateDir = StateDir()
	}
	return openFolder(filepath.Join(stateDir, name))
}

func openFolder(dir string) (*Lab, error) {
	r, err := readRecord(dir)
	name := filepath.Base(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, stateError{ErrNoLab, fmt.Sprintf("lab %q is not running (looked in %s)", name, filepath.Dir(dir))}
	}
	if err != nil {
		return nil, err
	}
	if r.Phase != phaseRunning {
		return nil, stateError{ErrNoLab, fmt.Sprintf("lab %q is being deployed, or its deployment was interrupted: then destroy it or deploy it anew", name)}
	}
	return &Lab{dir: dir, record: *r}, nil
}

// List names the labs that there are. stateDir may be empty: StateDir().
func List(stateDir string) ([]string, error) {
	if stateDir == "" {
		stateDir = StateDir()
	}
	entries, err := os.ReadDir(stateDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("lab state: %w", err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, nil
}

// Destroy ends a lab, whole or the debris of one. Ending what is not there is fine. stateDir may be
// empty: StateDir().
func Destroy(ctx context.Context, stateDir, name string) (existed bool, err error) {
	if stateDir == "" {
		stateDir = StateDir()
	}
	f, err := lockFolder(ctx, filepath.Join(stateDir, name), false)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	// Without a record no node was started, or none was committed: those end with their deployer.
	r, err := readRecord(f.path)
	if err == nil {
		err = r.kill(ctx)
	} else if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil {
		f.unlock()
		return true, err
	}
	return true, f.remove()
}

func (r *record) kill(ctx context.Context) error {
	var errs []error
	for _, n := range r.Nodes {
		errs = append(errs, n.kill(ctx))
	}
	return errors.Join(errs...)
}

// Name of the lab.
func (l *Lab) Name() string { return l.record.Topology.Name }

// Topology that the lab was deployed from.
func (l *Lab) Topology() *Topology { return &l.record.Topology }

// Created is when the lab was deployed.
func (l *Lab) Created() time.Time { return l.record.Created }

// Dir is the lab's folder in the state directory.
func (l *Lab) Dir() string { return l.dir }

// Destroy ends the lab.
func (l *Lab) Destroy(ctx context.Context) error {
	_, err := Destroy(ctx, filepath.Dir(l.dir), l.Name())
	return err
}

// PID of a node's first process, on the host. An error if the node has ended.
func (l *Lab) PID(node string) (int, error) {
	for _, n := range l.record.Nodes {
		if n.Name != node {
			continue
		}
		if !n.alive() {
			return 0, fmt.Errorf("node %s of lab %s has ended; deploy --reconfigure starts the lab anew", node, l.Name())
		}
		return n.PID, nil
	}
	return 0, fmt.Errorf("lab %s has no node %q", l.Name(), node)
}

// NetNS is the path of a node's network namespace on the host.
func (l *Lab) NetNS(node string) (string, error) {
	pid, err := l.PID(node)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("/proc/%d/ns/net", pid), nil
}

// LogFile is where a node's cmd prints to.
func (l *Lab) LogFile(node string) string { return filepath.Join(l.dir, node+".log") }

func (l *Lab) ask(ctx context.Context, node string, q request) (reply, error) {
	if _, ok := l.record.Topology.Node(node); !ok {
		return reply{}, fmt.Errorf("lab %s has no node %q", l.Name(), node)
	}
	r, err := ask(ctx, filepath.Join(l.dir, node+".sock"), q)
	if err != nil {
		return r, fmt.Errorf("node %s: %w", node, err)
	}
	return r, nil
}

// Exec runs a program in a node to its end. A non-zero exit code is no error.
func (l *Lab) Exec(ctx context.Context, node string, argv ...string) (Result, error) {
	r, err := l.ask(ctx, node, request{Op: opRun, Argv: argv})
	return r.Result, err
}

// Run is Exec for those who want a non-zero exit code to be an error, and the output otherwise.
func (l *Lab) Run(ctx context.Context, node string, argv ...string) (string, error) {
	r, err := l.Exec(ctx, node, argv...)
	if err == nil && r.Code != 0 {
		err = fmt.Errorf("node %s: %s: exit code %d: %s", node, argv[0], r.Code, r.Stderr+r.Stdout)
	}
	return r.Stdout, err
}

// Status of a node.
func (l *Lab) Status(ctx context.Context, node string) (Status, error) {
	r, err := l.ask(ctx, node, request{Op: opStatus})
	return r.Status, err
}

// Signal sends a signal to a node's cmd and its process group. With wait it returns when cmd has ended.
func (l *Lab) Signal(ctx context.Context, node string, sig syscall.Signal, wait bool) error {
	_, err := l.ask(ctx, node, request{Op: opSignal, Signal: int(sig), Wait: wait})
	return err
}

// Start starts a node's cmd again, after it has ended.
func (l *Lab) Start(ctx context.Context, node string) error {
	_, err := l.ask(ctx, node, request{Op: opStart})
	return err
}

// Command prepares a program to run in a node with the caller's standard streams and controlling
// terminal, so also a shell. It needs nsenter (util-linux). The program dies with ctx.
func (l *Lab) Command(ctx context.Context, node string, argv ...string) (*exec.Cmd, error) {
	line, env, err := l.CommandLine(node, append([]string{"setpriv", "--pdeathsig", "KILL", "--"}, argv...))
	if err != nil {
		return nil, err
	}
	c := exec.CommandContext(ctx, line[0], line[1:]...)
	c.Env = env
	return c, nil
}

// CommandLine is what runs a program in a node, and its environment, for a process that is to become
// that program.
func (l *Lab) CommandLine(node string, argv []string) (line, env []string, err error) {
	pid, err := l.PID(node)
	if err != nil {
		return nil, nil, err
	}
	n, _ := l.record.Topology.Node(node)
	line = []string{"nsenter", "--target", strconv.Itoa(pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--wd"}
	if otherUserNS(pid) {
		line = append(line, "--user", "--preserve-credentials")
	}
	env = environment(n, l.record.PathDir)
	if term, ok := os.LookupEnv("TERM"); ok {
		env = append(env, "TERM="+term)
	}
	return append(append(line, "--"), argv...), env, nil
}
