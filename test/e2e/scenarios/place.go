package scenarios

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/podroute/podroute/test/e2e/cluster"
)

// place is a network namespace to act in, a pod's or a machine's. It acts through one of the processes
// there, on threads of this process: neither the API nor anything on the node is asked, and a question costs
// no process.
type place struct {
	name string
	pid  int // on this host
}

// in is the place of a pod.
func (t *T) in(p Pod) (place, error) {
	pids, err := processes(p.container)
	if err == nil && len(pids) == 0 {
		err = errors.New("its container has no process")
	}
	if err != nil {
		return place{}, fmt.Errorf("pod %s: %w", p.Name, err)
	}
	return place{"pod " + p.Name, pids[0]}, nil
}

// at is the place of a machine.
func (t *T) at(machine string) (place, error) {
	pid, err := t.Lab().PID(machine)
	return place{machine, pid}, err
}

// do runs open on a thread in the place. A socket belongs for ever to the namespace of the thread that
// opened it, so only opening need be done here.
func (p place) do(open func() error) error {
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", p.pid))
	if err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	defer func() { _ = ns.Close() }()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("entering %s: %w", p.name, err)
			return
		}
		done <- open()
	}()
	return <-done
}

func (p place) dial(ctx context.Context, network, address string) (c net.Conn, err error) {
	err = p.do(func() (err error) {
		c, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return c, err
}

func (p place) listen(ctx context.Context, address string) (l net.Listener, err error) {
	err = p.do(func() (err error) {
		l, err = new(net.ListenConfig).Listen(ctx, "tcp", address)
		return err
	})
	return l, err
}

// askFor is how long an answer may take.
const askFor = 5 * time.Second

// ask gets a page over a new connection.
func (p place) ask(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	r, err := (&http.Transport{DialContext: p.dial, DisableKeepAlives: true}).RoundTrip(q)
	if err != nil {
		return "", fmt.Errorf("from %s: %s: %w", p.name, url, err)
	}
	body, err := io.ReadAll(r.Body)
	err = errors.Join(err, r.Body.Close())
	if err == nil && r.StatusCode != http.StatusOK {
		err = fmt.Errorf("from %s: %s: %s", p.name, url, r.Status)
	}
	return strings.TrimSpace(string(body)), err
}

// seenAs asks netexec at a URL whose address it sees, and is an error if that is not want.
func (p place) seenAs(ctx context.Context, url string, want netip.Addr) error {
	seen, err := p.ask(ctx, url)
	if err != nil {
		return err
	}
	if err := isAddress(seen, want); err != nil {
		return fmt.Errorf("from %s: %s: %w", p.name, url, err)
	}
	return nil
}

// addresses of a link of the place, IPv4 first, link-local ones left out.
func (p place) addresses(link string) (all []netip.Addr, err error) {
	err = p.do(func() error {
		i, err := net.InterfaceByName(link)
		if err != nil {
			return err
		}
		found, err := i.Addrs()
		if err != nil {
			return err
		}
		for _, a := range found {
			if prefix, err := netip.ParsePrefix(a.String()); err == nil && !prefix.Addr().IsLinkLocalUnicast() {
				all = append(all, prefix.Addr())
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("%s: link %s: %w", p.name, link, err)
	}
	return all, nil
}

// processes lists those, of all machines, whose control group names something: a pod's UID, a container's
// ID.
func processes(id string) (pids []int, err error) {
	files, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue // it has ended
		}
		if err != nil {
			return nil, err
		}
		if !bytes.Contains(text, []byte(id)) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		if err != nil {
			return nil, err
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

// nodeAddresses are a node's own, IPv4 first.
func nodeAddresses(n cluster.Node) []netip.Addr {
	return []netip.Addr{netip.MustParseAddr(n.IPv4), netip.MustParseAddr(n.IPv6)}
}

// url on a port of an address.
func url(ip netip.Addr, port int, path string) string {
	return "http://" + netip.AddrPortFrom(ip, uint16(port)).String() + path
}
