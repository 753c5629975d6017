package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Result of a program that ran to its end. Code is 128 plus the signal's number for one that was
// killed.
type Result struct {
	Code   int    `json:"code"`
	Stdout string `json:"stdout,omitempty"`
	Stderr string `json:"stderr,omitempty"`
}

// Status of a node as its init tells it.
type Status struct {
	Running   bool      `json:"running"`         // cmd is running
	PID       int       `json:"pid,omitempty"`   // of cmd, inside the node
	Since     time.Time `json:"since,omitzero"`  // when cmd was started last
	Ended     string    `json:"ended,omitempty"` // how cmd ended
	Addresses []string  `json:"addresses,omitempty"`
}

// Operations of a node's socket; one request and one reply a connection.
const (
	opRun    = "run"
	opStatus = "status"
	opSignal = "signal"
	opStart  = "start"
)

type request struct {
	Op     string   `json:"op"`
	Argv   []string `json:"argv,omitempty"`
	Signal int      `json:"signal,omitempty"`
	Wait   bool     `json:"wait,omitempty"` // signal: reply when cmd has ended
}

type reply struct {
	Error  string `json:"error,omitempty"`
	Result Result `json:"result"`
	Status Status `json:"status"`
}

func (s *supervisor) serve(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			fmt.Fprintf(os.Stderr, "[podroute-lab] socket: %v\n", err)
			return
		}
		go func() {
			defer func() { _ = conn.Close() }()
			var q request
			if err := json.NewDecoder(conn).Decode(&q); err != nil {
				return // the caller has gone
			}
			r, err := s.do(q)
			if err != nil {
				r.Error = err.Error()
			}
			_ = json.NewEncoder(conn).Encode(r)
		}()
	}
}

func (s *supervisor) do(q request) (r reply, err error) {
	switch q.Op {
	case opRun:
		if len(q.Argv) == 0 {
			return r, errors.New("nothing to run")
		}
		r.Result, err = s.run(q.Argv)
	case opStart:
		err = s.start()
	case opSignal:
		var ended <-chan struct{}
		ended, err = s.signal(syscall.Signal(q.Signal))
		if err == nil && q.Wait {
			<-ended
		}
	case opStatus:
		r.Status, err = s.status()
	default:
		err = fmt.Errorf("unknown operation %q", q.Op)
	}
	return r, err
}

func (s *supervisor) status() (Status, error) {
	s.mu.Lock()
	st := Status{Running: s.main != 0, PID: s.main, Since: s.since, Ended: s.last}
	s.mu.Unlock()
	ifaces, err := net.Interfaces()
	if err != nil {
		return st, fmt.Errorf("interfaces: %w", err)
	}
	for _, i := range ifaces {
		addrs, err := i.Addrs()
		if err != nil {
			continue // gone meanwhile
		}
		for _, a := range addrs {
			if ip, ok := a.(*net.IPNet); ok && ip.IP.IsGlobalUnicast() {
				st.Addresses = append(st.Addresses, ip.String())
			}
		}
	}
	return st, nil
}

// A socket's address is at most 107 bytes: sockets are named through the descriptor of their folder.
func viaFolder(path string, use func(short string) error) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	return use(fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)))
}

func listen(path string) (f *os.File, err error) {
	err = viaFolder(path, func(short string) error {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: short, Net: "unix"})
		if err != nil {
			return err
		}
		l.SetUnlinkOnClose(false)
		f, err = l.File()
		return errors.Join(err, l.Close())
	})
	return f, err
}

// ask sends one request to a node and waits for its reply.
func ask(ctx context.Context, socket string, q request) (r reply, err error) {
	err = viaFolder(socket, func(short string) error {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "unix", short)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
		if err := json.NewEncoder(conn).Encode(q); err != nil {
			return err
		}
		return json.NewDecoder(conn).Decode(&r)
	})
	switch {
	case ctx.Err() != nil:
		return r, ctx.Err()
	case errors.Is(err, unix.ECONNREFUSED):
		return r, errors.New("the node is gone")
	case err != nil:
		return r, err
	case r.Error != "":
		return r, errors.New(r.Error)
	}
	return r, nil
}
