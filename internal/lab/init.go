package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Descriptors that the deployer hands to a node's init, besides the log as standard output.
const (
	fdDeployer = 3 // one end of a socket pair: order, then answers, until the commit
	fdListener = 4 // the node's socket, listening
)

// order is what the deployer tells a node's init first.
type order struct {
	Node    Node   `json:"node"`
	PathDir string `json:"pathDir"`
}

// Words between deployer and init, after the order: ready, start, started, commit.
const (
	wordReady   = "ready"
	wordStart   = "start"
	wordStarted = "started"
	wordCommit  = "commit"
)

// message is one word, or why it cannot be said.
type message struct {
	Word  string `json:"word,omitempty"`
	Error string `json:"error,omitempty"`
}

// runInit is PID 1 of a node. It returns when the deployer goes away before the commit; after that
// only SIGKILL ends it.
func runInit() error {
	conn, listener, err := inherited()
	if err != nil {
		return err
	}
	in, out := json.NewDecoder(conn), json.NewEncoder(conn)
	var o order
	if err := in.Decode(&o); err != nil {
		return fmt.Errorf("order: %w", err)
	}
	env := environment(o.Node, o.PathDir)
	if err := os.Setenv("PATH", strings.TrimPrefix(env[0], "PATH=")); err != nil {
		return err
	}
	s := newSupervisor(o.Node.Cmd, env)
	if err := prepare(o); err != nil {
		_ = out.Encode(message{Error: err.Error()})
		return err
	}
	go s.reap()
	go s.serve(listener)
	if err := answer(out, wordReady, nil); err != nil {
		return err
	}
	for {
		var m message
		switch err := in.Decode(&m); {
		case errors.Is(err, io.EOF):
			return errors.New("the deployer went away before the lab was complete")
		case err != nil:
			return fmt.Errorf("deployer: %w", err)
		}
		switch m.Word {
		case wordStart:
			var err error
			if len(o.Node.Cmd) > 0 {
				err = s.start()
			}
			if err := answer(out, wordStarted, err); err != nil {
				return err
			}
		case wordCommit:
			_ = conn.Close()
			select {}
		}
	}
}

func answer(out *json.Encoder, word string, err error) error {
	if err != nil {
		return errors.Join(err, out.Encode(message{Error: err.Error()}))
	}
	return out.Encode(message{Word: word})
}

func inherited() (net.Conn, net.Listener, error) {
	for _, fd := range []int{fdDeployer, fdListener} {
		unix.CloseOnExec(fd) // the node's own programs must not hold them open
	}
	df, lf := os.NewFile(fdDeployer, "deployer"), os.NewFile(fdListener, "listener")
	defer func() { _, _ = df.Close(), lf.Close() }()
	conn, err := net.FileConn(df)
	if err != nil {
		return nil, nil, fmt.Errorf("not started by a deployer: %w", err)
	}
	l, err := net.FileListener(lf)
	if err != nil {
		return nil, nil, fmt.Errorf("not started by a deployer: %w", err)
	}
	return conn, l, nil
}

// prepare makes the namespaces a node: its file systems, name and kernel settings.
func prepare(o order) error {
	if err := mountRoot(o.Node.Binds, o.PathDir); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(o.Node.Name)); err != nil {
		return fmt.Errorf("host name %s: %w", o.Node.Name, err)
	}
	// A default is copied by links that are made later, so this comes before any link.
	for _, key := range sortedKeys(o.Node.Sysctls) {
		path := filepath.Join("/proc/sys", strings.ReplaceAll(key, ".", "/"))
		if err := os.WriteFile(path, []byte(o.Node.Sysctls[key]), 0); err != nil {
			return fmt.Errorf("sysctl %s=%s: %w", key, o.Node.Sysctls[key], err)
		}
	}
	return nil
}

// environment of everything that runs in a node, PATH first. Nothing is passed on from the deployer's own, so
// that a lab is the same whoever starts it.
func environment(n Node, pathDir string) []string {
	path := pathDir + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	if own := n.Env["PATH"]; own != "" {
		path = own
	}
	env := []string{
		"PATH=" + path,
		"HOME=/root",
		"HOSTNAME=" + n.Name,
	}
	for _, k := range sortedKeys(n.Env) {
		if k != "PATH" {
			env = append(env, k+"="+n.Env[k])
		}
	}
	return env
}
