package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// userOrder is what a plain user's deployer tells its copy inside the user namespace.
type userOrder struct {
	Topology *Topology `json:"topology"`
	Options  Options   `json:"options"`
}

// userEvent is what the copy tells back, one a line: progress, and at the end an error or none.
type userEvent struct {
	Progress string `json:"progress,omitempty"`
	Error    string `json:"error,omitempty"`
	Exists   bool   `json:"exists,omitempty"`
	Done     bool   `json:"done,omitempty"`
}

// deployAsUser deploys from inside a new user namespace in which the caller is root. The nodes keep
// that namespace alive.
func deployAsUser(ctx context.Context, t *Topology, o Options) (*Lab, error) {
	in, err := json.Marshal(userOrder{t, o})
	if err != nil {
		return nil, err
	}
	c := exec.CommandContext(ctx, "/proc/self/exe")
	c.Args = []string{deployName, t.Name}
	c.Cancel = func() error { return c.Process.Signal(unix.SIGTERM) } // it rolls back
	c.Stdin, c.Stderr = strings.NewReader(string(in)), os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{
		Setpgid:     true, // Ctrl-C reaches it once, through ctx
		Pdeathsig:   unix.SIGKILL,
		Cloneflags:  unix.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
	}
	out, err := c.StdoutPipe()
	if err != nil {
		return nil, err
	}
	runtime.LockOSThread() // Pdeathsig is tied to the thread that starts the child
	defer runtime.UnlockOSThread()
	if err := c.Start(); err != nil {
		return nil, explainClone(err)
	}
	last, err := follow(out, o.Progress)
	err = errors.Join(err, c.Wait())
	switch {
	case last.Exists:
		return nil, stateError{ErrExists, last.Error}
	case last.Error != "":
		return nil, errors.New(last.Error)
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case !last.Done:
		return nil, fmt.Errorf("deployer in the user namespace: %w", err)
	}
	return openFolder(filepath.Join(o.StateDir, t.Name))
}

func follow(out io.Reader, progress func(string)) (last userEvent, err error) {
	s := bufio.NewScanner(out)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		var e userEvent
		if err := json.Unmarshal(s.Bytes(), &e); err != nil {
			return last, fmt.Errorf("deployer in the user namespace: %w", err)
		}
		if e.Progress != "" {
			progress(e.Progress)
			continue
		}
		last = e
	}
	return last, s.Err()
}

// runUserDeploy is the deployer inside the user namespace.
func runUserDeploy(ctx context.Context) error {
	var o userOrder
	if err := json.NewDecoder(os.Stdin).Decode(&o); err != nil {
		return fmt.Errorf("order: %w", err)
	}
	out := json.NewEncoder(os.Stdout)
	o.Options.Progress = func(text string) { _ = out.Encode(userEvent{Progress: text}) }
	_, err := Deploy(ctx, o.Topology, o.Options)
	e := userEvent{Done: err == nil, Exists: errors.Is(err, ErrExists)}
	if err != nil {
		e.Error = err.Error()
	}
	return out.Encode(e)
}

// otherUserNS: a process has root's rights in another user namespace than ours.
func otherUserNS(pid int) bool {
	theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/user", pid))
	if err != nil {
		return false // not ours to see; nsenter will say so
	}
	ours, err := os.Readlink("/proc/self/ns/user")
	return err == nil && ours != theirs
}

// inUserNS: this process is root, if at all, inside a user namespace only.
func inUserNS() bool {
	text, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && strings.Join(strings.Fields(string(text)), " ") != "0 0 4294967295"
}

// explainClone adds the mend to the errors of making namespaces.
func explainClone(err error) error {
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EUSERS):
		return fmt.Errorf("making namespaces: %w: a limit in /proc/sys/user/max_*_namespaces is reached or zero; raise it, or run as root", err)
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("making namespaces: %w: this host does not let a plain user do so; run as root, or have it allowed "+
			"(sysctl kernel.unprivileged_userns_clone=1, or on Ubuntu kernel.apparmor_restrict_unprivileged_userns=0)", err)
	}
	return fmt.Errorf("starting init: %w", err)
}
