package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// StateDir is the folder that holds a folder for each running lab: /run/podroute-lab for root,
// $XDG_RUNTIME_DIR/podroute-lab or /tmp/podroute-lab-UID for a plain user. Labs do not outlive the
// boot, and neither do these folders.
func StateDir() string {
	if os.Geteuid() == 0 && unix.Access("/run", unix.W_OK) == nil {
		return "/run/podroute-lab"
	}
	if run := os.Getenv("XDG_RUNTIME_DIR"); run != "" {
		return filepath.Join(run, "podroute-lab")
	}
	return fmt.Sprintf("/tmp/podroute-lab-%d", os.Getuid())
}

// Phases of a lab.
const (
	phaseDeploying = "deploying" // and nobody holds the lock: debris of a crash
	phaseRunning   = "running"
)

// record is lab.json.
type record struct {
	Topology Topology     `json:"topology"`
	Phase    string       `json:"phase"`
	Created  time.Time    `json:"created"`
	PathDir  string       `json:"pathDir"`         // first folder of every node's PATH
	Holder   process      `json:"holder,omitzero"` // see Options.Holder
	Nodes    []nodeRecord `json:"nodes"`
}

// nodeRecord names a node's PID 1.
type nodeRecord struct {
	Name string `json:"name"`
	process
}

// process is named by what it is on the host. Start is in clock ticks since boot: it tells the process
// from a later one of the same number.
type process struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"`
}

// folder is a lab's folder in the state directory, held locked.
type folder struct {
	path string
	lock *os.File
}

// lockFolder opens a lab's folder and waits for its lock. Without create, a folder that does not
// exist is fs.ErrNotExist.
func lockFolder(ctx context.Context, path string, create bool) (*folder, error) {
	for {
		if create {
			err := os.MkdirAll(path, 0o700)
			if errors.Is(err, fs.ErrNotExist) {
				continue // the last other lab just took the state directory along
			}
			if err != nil {
				return nil, fmt.Errorf("lab state: %w", err)
			}
		}
		f, err := os.Open(path)
		if create && errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("lab state: %w", err)
		}
		if err := flock(ctx, f); err != nil {
			_ = f.Close()
			return nil, fmt.Errorf("lab state %s: %w", path, err)
		}
		// Who held the lock before may have removed the folder: then this lock protects nothing.
		if have, err := f.Stat(); err == nil {
			if now, err := os.Stat(path); err == nil && os.SameFile(have, now) {
				return &folder{path: path, lock: f}, nil
			}
		}
		_ = f.Close()
	}
}

// flock waits in the kernel; when ctx ends first it returns, and the waiting thread with the file.
func flock(ctx context.Context, f *os.File) error {
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
		return nil
	}
	done := make(chan error, 1)
	go func() {
		for {
			err := unix.Flock(int(f.Fd()), unix.LOCK_EX)
			if !errors.Is(err, unix.EINTR) {
				done <- err
				return
			}
		}
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("another deploy or destroy is under way: %w", ctx.Err())
	}
}

func (f *folder) unlock() { _ = f.lock.Close() }

// remove takes the folder away and gives up its lock.
func (f *folder) remove() error {
	err := os.RemoveAll(f.path)
	_ = os.Remove(filepath.Dir(f.path)) // the last lab takes the state directory along
	f.unlock()
	return err
}

func (f *folder) write(r *record) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	tmp := filepath.Join(f.path, "lab.json.new")
	if err := os.WriteFile(tmp, text, 0o600); err != nil {
		return fmt.Errorf("lab state: %w", err)
	}
	if err := os.Rename(tmp, filepath.Join(f.path, "lab.json")); err != nil {
		return fmt.Errorf("lab state: %w", err)
	}
	return nil
}

func readRecord(dir string) (*record, error) {
	text, err := os.ReadFile(filepath.Join(dir, "lab.json"))
	if err != nil {
		return nil, fmt.Errorf("lab state: %w", err)
	}
	var r record
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("lab state %s: %w", dir, err)
	}
	return &r, nil
}

// startTime is field 22 of /proc/PID/stat, in clock ticks since boot.
func startTime(pid int) (uint64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The second field, the name in parentheses, may hold anything: count from its end.
	i := strings.LastIndexByte(string(text), ')')
	fields := strings.Fields(string(text[i+1:]))
	if i < 0 || len(fields) < 20 {
		return 0, fmt.Errorf("/proc/%d/stat: unexpected form", pid)
	}
	if fields[0] == "Z" || fields[0] == "X" {
		return 0, fmt.Errorf("process %d has ended: %w", pid, fs.ErrNotExist)
	}
	return strconv.ParseUint(fields[19], 10, 64)
}

func (p process) alive() bool {
	start, err := startTime(p.PID)
	return err == nil && start == p.Start
}

// kill ends PID 1 of a node, and with it everything in its PID namespace, and waits for that. A
// zombie counts as ended.
func (n nodeRecord) kill(ctx context.Context) error {
	fd, err := unix.PidfdOpen(n.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("node %s: pidfd_open(%d): %w", n.Name, n.PID, err)
	}
	defer func() { _ = unix.Close(fd) }()
	if !n.alive() { // another process by now: fd holds it, but we leave it alone
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("node %s: kill %d: %w", n.Name, n.PID, err)
	}
	for {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		ready, err := unix.Poll(fds, 100)
		switch {
		case err != nil && !errors.Is(err, unix.EINTR):
			return fmt.Errorf("node %s: waiting for %d to end: %w", n.Name, n.PID, err)
		case ready > 0:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("node %s: process %d does not end: %w", n.Name, n.PID, ctx.Err())
		}
	}
}
