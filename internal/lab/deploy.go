package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Options of Deploy.
type Options struct {
	// Reconfigure replaces a running lab of that name.
	Reconfigure bool `json:"reconfigure,omitempty"`
	// Holder, if not 0, is the PID of a process that needs the lab: while it runs, nobody else's Deploy
	// replaces it.
	Holder int `json:"holder,omitempty"`
	// StateDir is where the lab's folder goes. Default: StateDir().
	StateDir string `json:"stateDir,omitempty"`
	// PathDir is the first folder of PATH in every node. Default: the one this program lies in.
	PathDir string `json:"pathDir,omitempty"`
	// Progress, if set, is told what was done, from one goroutine at a time.
	Progress func(text string) `json:"-"`
}

// Deploy starts a lab. The lab outlives this process. On any error, and when ctx ends before Deploy
// returns, nothing of it is left.
func Deploy(ctx context.Context, t *Topology, o Options) (*Lab, error) {
	if o.StateDir == "" {
		o.StateDir = StateDir()
	}
	if o.PathDir == "" {
		exe, err := os.Executable()
		if err != nil {
			return nil, err
		}
		o.PathDir = filepath.Dir(exe)
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	if os.Geteuid() != 0 {
		return deployAsUser(ctx, t, o)
	}
	d, err := newDeployment(ctx, t, o)
	if err != nil {
		return nil, err
	}
	if err := d.run(ctx); err != nil {
		// The undo must happen even though ctx has ended.
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		return nil, errors.Join(err, d.rollback(undo))
	}
	d.close()
	return openFolder(d.folder.path)
}

// deployment is a lab on its way up.
type deployment struct {
	top    *Topology
	o      Options
	folder *folder
	record record
	nodes  []*birth // in the order of the file
	net    *network
}

// birth is a node between its first process and the commit.
type birth struct {
	node Node
	pid  int
	conn net.Conn
	in   *json.Decoder
	out  *json.Encoder
}

// newDeployment claims the lab's folder, and clears it of what is to be replaced.
func newDeployment(ctx context.Context, t *Topology, o Options) (*deployment, error) {
	path := filepath.Join(o.StateDir, t.Name)
	f, err := lockFolder(ctx, path, true)
	if err != nil {
		return nil, err
	}
	r, err := readRecord(path)
	if err == nil && r.Phase == phaseRunning {
		if err := r.mayReplace(o); err != nil {
			f.unlock()
			return nil, err
		}
	}
	if err == nil {
		o.Progress(fmt.Sprintf("replacing lab %s of %s", t.Name, r.Created.Format(time.TimeOnly)))
		err = r.kill(ctx)
	} else if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err == nil {
		err = empty(path)
	}
	if err != nil {
		f.unlock()
		return nil, err
	}
	d := &deployment{
		top: t, o: o, folder: f, net: newNetwork(t.Name),
		record: record{Topology: *t, Phase: phaseDeploying, Created: time.Now().Round(time.Second), PathDir: o.PathDir},
	}
	if o.Holder != 0 {
		if start, err := startTime(o.Holder); err == nil { // else it has ended, and holds nothing
			d.record.Holder = process{o.Holder, start}
		}
	}
	return d, nil
}

// mayReplace is nil when a running lab may be replaced.
func (r *record) mayReplace(o Options) error {
	switch {
	case !o.Reconfigure:
		return stateError{ErrExists, fmt.Sprintf("lab %q runs already, since %s, from %s: deploy --reconfigure replaces it, destroy ends it",
			r.Topology.Name, r.Created.Format(time.TimeOnly), r.Topology.File)}
	case r.Holder.alive() && r.Holder.PID != o.Holder:
		return stateError{ErrExists, fmt.Sprintf("lab %q is in use by process %d, since %s: wait for it, or end it; destroy ends the lab all the same",
			r.Topology.Name, r.Holder.PID, r.Created.Format(time.TimeOnly))}
	}
	return nil
}

func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// run is the whole of a deployment. The order matters: see the invariants in doc.go.
func (d *deployment) run(ctx context.Context) error {
	began := time.Now()
	if err := d.folder.write(&d.record); err != nil {
		return err
	}
	for _, s := range []struct {
		done string
		step func(context.Context) error
	}{
		{fmt.Sprintf("%d nodes", len(d.top.Nodes)), d.startNodes},
		{fmt.Sprintf("%d links", len(d.top.Links)), d.connect},
		{"commands started", d.startCommands},
		{"exec done", d.execLines},
		{"", d.commit},
	} {
		err := s.step(ctx)
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		if s.done != "" {
			d.o.Progress(s.done)
		}
	}
	d.o.Progress(fmt.Sprintf("lab %s is up after %d ms", d.top.Name, time.Since(began).Milliseconds()))
	return nil
}

func (d *deployment) close() {
	for _, b := range d.nodes {
		_ = b.conn.Close()
	}
	d.net.close()
	d.folder.unlock()
}

func (d *deployment) rollback(ctx context.Context) error {
	for _, b := range d.nodes {
		_ = b.conn.Close()
	}
	d.net.close()
	return errors.Join(d.record.kill(ctx), d.folder.remove())
}

// startNodes starts every node's init, those with a network of their own first, and waits until all
// have prepared themselves.
func (d *deployment) startNodes(ctx context.Context) error {
	pids := map[string]int{}
	for _, shared := range []bool{false, true} {
		for _, n := range d.top.Nodes {
			if (n.SharesNetworkOf() != "") != shared {
				continue
			}
			b, err := d.spawn(n, pids[n.SharesNetworkOf()])
			if err != nil {
				return fmt.Errorf("node %s: %w", n.Name, err)
			}
			pids[n.Name] = b.pid
		}
	}
	if err := d.folder.write(&d.record); err != nil {
		return err
	}
	return d.each(ctx, func(b *birth) error { return b.expect(wordReady) })
}

// spawn starts a node's init in new namespaces; netOf, if not 0, is a process whose network
// namespace it shares.
func (d *deployment) spawn(n Node, netOf int) (*birth, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socketpair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "init"), os.NewFile(uintptr(pair[1]), "deployer")
	defer func() { _, _ = ours.Close(), theirs.Close() }()
	listener, err := listen(filepath.Join(d.folder.path, n.Name+".sock"))
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	defer func() { _ = listener.Close() }()
	log, err := os.OpenFile(filepath.Join(d.folder.path, n.Name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	conn, err := net.FileConn(ours)
	if err != nil {
		return nil, err
	}

	c := exec.Command("/proc/self/exe") //nolint:noctx // it outlives us once committed, and nothing before
	c.Args = []string{initName, d.top.Name, n.Name}
	c.Stdout, c.Stderr = log, log
	c.ExtraFiles = []*os.File{theirs, listener}
	c.Env = []string{}
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: namespaces(netOf != 0)}
	if err := startIn(c, netOf); err != nil {
		return nil, errors.Join(explainClone(err), conn.Close())
	}
	go func() { _ = c.Wait() }() // no zombie while this process lives on
	b := &birth{node: n, pid: c.Process.Pid, conn: conn, in: json.NewDecoder(conn), out: json.NewEncoder(conn)}
	d.nodes = append(d.nodes, b)
	start, err := startTime(b.pid)
	if err != nil {
		return nil, fmt.Errorf("init: %w", err)
	}
	d.record.Nodes = append(d.record.Nodes, nodeRecord{n.Name, process{b.pid, start}})
	return b, b.out.Encode(order{Node: n, PathDir: d.o.PathDir})
}

func namespaces(sharedNet bool) uintptr {
	flags := uintptr(unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC)
	if !sharedNet {
		flags |= unix.CLONE_NEWNET
	}
	if _, err := os.Stat("/proc/self/ns/cgroup"); err == nil {
		flags |= unix.CLONE_NEWCGROUP
	}
	return flags
}

// startIn starts a command, from a thread in the network namespace of another process unless that is 0.
func startIn(c *exec.Cmd, pid int) error {
	if pid == 0 {
		return c.Start()
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread is in the wrong namespace and ends with the goroutine
		ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
		if err != nil {
			done <- err
			return
		}
		defer func() { _ = ns.Close() }()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("setns: %w", err)
			return
		}
		done <- c.Start()
	}()
	return <-done
}

// each does something for every node at once; when ctx ends, the connections are closed so that
// nothing waits longer.
func (d *deployment) each(ctx context.Context, do func(*birth) error) error {
	defer context.AfterFunc(ctx, func() {
		for _, b := range d.nodes {
			_ = b.conn.SetDeadline(time.Unix(1, 0))
		}
	})()
	var g errgroup.Group
	for _, b := range d.nodes {
		g.Go(func() error {
			if err := do(b); err != nil {
				return fmt.Errorf("node %s: %w", b.node.Name, err)
			}
			return nil
		})
	}
	err := g.Wait()
	return errors.Join(ctx.Err(), err)
}

func (b *birth) expect(word string) error {
	var m message
	if err := b.in.Decode(&m); err != nil {
		return fmt.Errorf("init ended early: %w", err)
	}
	if m.Error != "" {
		return errors.New(m.Error)
	}
	if m.Word != word {
		return fmt.Errorf("init says %q, expected %q", m.Word, word)
	}
	return nil
}

func (d *deployment) connect(context.Context) error {
	for _, b := range d.nodes {
		if err := d.net.add(b.node, b.pid); err != nil {
			return err
		}
	}
	for _, l := range d.top.Links {
		if err := d.net.connect(l); err != nil {
			return err
		}
	}
	return nil
}

func (d *deployment) startCommands(ctx context.Context) error {
	return d.each(ctx, func(b *birth) error {
		if err := b.out.Encode(message{Word: wordStart}); err != nil {
			return err
		}
		return b.expect(wordStarted)
	})
}

// execLines runs each node's exec lines in order, all nodes at once. A line that fails fails the
// deployment: a lab that is not what its file says is no use.
func (d *deployment) execLines(ctx context.Context) error {
	return d.each(ctx, func(b *birth) error {
		for _, argv := range b.node.Exec {
			if len(argv) == 0 {
				continue
			}
			r, err := ask(ctx, filepath.Join(d.folder.path, b.node.Name+".sock"), request{Op: opRun, Argv: argv})
			if err != nil {
				return fmt.Errorf("exec %q: %w", strings.Join(argv, " "), err)
			}
			if r.Result.Code != 0 {
				return fmt.Errorf("exec %q: exit code %d: %s", strings.Join(argv, " "), r.Result.Code,
					strings.TrimSpace(r.Result.Stderr+r.Result.Stdout))
			}
		}
		return nil
	})
}

func (d *deployment) commit(context.Context) error {
	d.record.Phase = phaseRunning
	if err := d.folder.write(&d.record); err != nil {
		return err
	}
	for _, b := range d.nodes {
		if err := b.out.Encode(message{Word: wordCommit}); err != nil {
			return fmt.Errorf("node %s: %w", b.node.Name, err)
		}
	}
	return nil
}
