package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// supervisor starts programs in a node and reaps whatever ends there. A program's process is known
// to it before the program can be reaped: both happen under mu.
type supervisor struct {
	cmd []string
	env []string

	mu      sync.Mutex
	waiting map[int]chan<- syscall.WaitStatus
	main    int // process of cmd, or 0
	since   time.Time
	last    string        // how cmd ended, when it has
	ended   chan struct{} // closed when the running cmd ends
}

func newSupervisor(cmd, env []string) *supervisor {
	return &supervisor{cmd: cmd, env: env, waiting: map[int]chan<- syscall.WaitStatus{}}
}

// reap collects children for ever: those started here, and the orphans that PID 1 inherits.
func (s *supervisor) reap() {
	chld := make(chan os.Signal, 1)
	signal.Notify(chld, unix.SIGCHLD)
	for ; ; <-chld {
		for s.reapOne() {
		}
	}
}

func (s *supervisor) reapOne() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	var status syscall.WaitStatus
	pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
	if errors.Is(err, syscall.EINTR) {
		return true
	}
	if err != nil || pid <= 0 {
		return false
	}
	if ch, ok := s.waiting[pid]; ok {
		delete(s.waiting, pid)
		ch <- status
	}
	if pid == s.main {
		s.main, s.last = 0, describe(status)
		close(s.ended)
		fmt.Fprintf(os.Stderr, "[podroute-lab] cmd ended: %s\n", s.last)
	}
	return true
}

func describe(status syscall.WaitStatus) string {
	if status.Signaled() {
		return "signal " + unix.SignalName(status.Signal())
	}
	return fmt.Sprintf("exit code %d", status.ExitStatus())
}

// spawn starts a program in a session of its own. status, which must be buffered, gets its end.
func (s *supervisor) spawn(argv []string, files []*os.File, status chan<- syscall.WaitStatus) (int, error) {
	path, err := exec.LookPath(argv[0]) // runInit has set PATH
	if err != nil {
		return 0, err
	}
	fds := make([]uintptr, len(files))
	for i, f := range files {
		fds[i] = f.Fd()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// Not os.StartProcess: it would wait for children of its own, which reap takes from it.
	pid, err := syscall.ForkExec(path, argv, &syscall.ProcAttr{
		Dir: "/", Env: s.env, Files: fds, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	if status != nil {
		s.waiting[pid] = status
	}
	return pid, nil
}

// start runs cmd, unless it is running.
func (s *supervisor) start() error {
	if len(s.cmd) == 0 {
		return errors.New("the node has no cmd")
	}
	if s.running() != 0 {
		return errors.New("cmd is running already")
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer func() { _ = null.Close() }()
	ended := make(chan struct{})
	s.mu.Lock()
	s.ended = ended
	s.mu.Unlock()
	status := make(chan syscall.WaitStatus, 1)
	pid, err := s.spawn(s.cmd, []*os.File{null, os.Stdout, os.Stderr}, status)
	if err != nil {
		return fmt.Errorf("cmd: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case st := <-status: // ended and reaped before we could say which it is
		s.last = describe(st)
		close(ended)
	default:
		s.main, s.since, s.last = pid, time.Now(), ""
	}
	return nil
}

func (s *supervisor) running() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.main
}

// signal sends to cmd and all of its process group. ended is closed when cmd is gone.
func (s *supervisor) signal(sig syscall.Signal) (ended <-chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.main == 0 {
		return nil, errors.New("cmd is not running")
	}
	return s.ended, syscall.Kill(-s.main, sig)
}

// run runs a program to its end and returns what it printed. Its output goes through files, not
// pipes: a daemon that it leaves behind would hold a pipe open.
func (s *supervisor) run(argv []string) (Result, error) {
	var r Result
	null, err := os.Open(os.DevNull)
	if err != nil {
		return r, err
	}
	defer func() { _ = null.Close() }()
	stdout, err := memoryFile("stdout")
	if err != nil {
		return r, err
	}
	defer func() { _ = stdout.Close() }()
	stderr, err := memoryFile("stderr")
	if err != nil {
		return r, err
	}
	defer func() { _ = stderr.Close() }()
	status := make(chan syscall.WaitStatus, 1)
	if _, err := s.spawn(argv, []*os.File{null, stdout, stderr}, status); err != nil {
		return r, err
	}
	st := <-status
	r.Code = st.ExitStatus()
	if st.Signaled() {
		r.Code = 128 + int(st.Signal())
	}
	if r.Stdout, err = contents(stdout); err != nil {
		return r, err
	}
	r.Stderr, err = contents(stderr)
	return r, err
}

func memoryFile(name string) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

func contents(f *os.File) (string, error) {
	st, err := f.Stat()
	if err != nil {
		return "", err
	}
	text := make([]byte, st.Size())
	_, err = f.ReadAt(text, 0)
	if len(text) == 0 {
		err = nil
	}
	return string(text), err
}
