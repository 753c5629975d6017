package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// ForwardCommand is the subcommand of the running program that must call Forward.
const ForwardCommand = "forward"

// listenerFD is where the forwarder finds its listening socket.
const listenerFD = 3

// startForwarder makes the API server reachable from the host: it listens on a port of 127.0.0.1 and
// returns it. The socket is the host's; the process that holds it lives in the control plane's
// namespaces, so it dials from there, and ends with the machine.
func (c *Cluster) startForwarder() (port int, err error) {
	pid, err := c.lab.PID(MachineControlPlane)
	if err != nil {
		return 0, err
	}
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return 0, err
	}
	defer func() { _ = l.Close() }()
	socket, err := l.File()
	if err != nil {
		return 0, err
	}
	defer func() { _ = socket.Close() }()
	log, err := os.Create(filepath.Join(c.Logs(), "forwarder.log"))
	if err != nil {
		return 0, err
	}
	defer func() { _ = log.Close() }()
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	//nolint:noctx // it outlives us
	cmd := exec.Command("nsenter", "--target", strconv.Itoa(pid), "--net", "--pid", "--",
		self, ForwardCommand, ControlPlane+":6443")
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = log, log, []*os.File{socket}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("forwarder to the API server: %w", err)
	}
	go func() { _ = cmd.Wait() }() // no zombie while this process lives on
	return l.Addr().(*net.TCPAddr).Port, nil
}

// Forward is the forwarder: it relays connections to an address, for ever.
func Forward(to string) error {
	unix.CloseOnExec(listenerFD)
	f := os.NewFile(listenerFD, "listener")
	l, err := net.FileListener(f)
	if err != nil {
		return fmt.Errorf("not started by a cluster: %w", err)
	}
	_ = f.Close()
	for {
		in, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			if err := relay(in, to); err != nil && !errors.Is(err, net.ErrClosed) {
				fmt.Fprintln(os.Stderr, err)
			}
		}()
	}
}

func relay(in net.Conn, to string) error {
	defer func() { _ = in.Close() }()
	var d net.Dialer
	out, err := d.DialContext(context.Background(), "tcp", to)
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
		both.Go(func() {
			_, _ = io.Copy(way[1], way[0])
			_ = way[1].(*net.TCPConn).CloseWrite()
		})
	}
	both.Wait()
	return nil
}

// useForwarder writes the administrator's kubeconfig for the host.
func (c *Cluster) useForwarder(port int) error {
	text, err := os.ReadFile(c.InsideKubeconfig())
	if err != nil {
		return err
	}
	server := fmt.Sprintf("https://127.0.0.1:%d", port)
	text = []byte(strings.Replace(string(text), "https://"+ControlPlane+":6443", server, 1))
	return os.WriteFile(c.Kubeconfig(), text, 0o600)
}
