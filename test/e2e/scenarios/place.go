package scenarios

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// place is a network namespace to act in: a pod's or a machine's.
type place struct {
	name string
	ns   *os.File
}

// placeOf opens the network namespace of a process. It holds the namespace until it is closed.
func placeOf(name string, pid int) (*place, error) {
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return nil, fmt.Errorf("network namespace of %s: %w", name, err)
	}
	return &place{name: name, ns: ns}, nil
}

func (p *place) close() error { return p.ns.Close() }

// do runs open on a thread inside the namespace. A socket belongs for ever to the namespace of the thread
// that opened it, so only opening need be done here.
func (p *place) do(open func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := unix.Setns(int(p.ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("entering %s: %w", p.name, err)
			return
		}
		done <- open()
	}()
	return <-done
}

func (p *place) dial(ctx context.Context, network, address string) (c net.Conn, err error) {
	err = p.do(func() (err error) {
		c, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return c, err
}

// web is an HTTP client in the place, with a connection of its own for each request.
func (p *place) web(patience time.Duration) *http.Client {
	return &http.Client{Timeout: patience, Transport: &http.Transport{DialContext: p.dial, DisableKeepAlives: true}}
}

// get fetches a page over a connection of its own.
func get(ctx context.Context, c *http.Client, url string) (string, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	r, err := c.Do(q)
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(r.Body)
	err = errors.Join(err, r.Body.Close())
	if err == nil && r.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, r.Status)
	}
	return string(body), err
}

// ask is get with a new client, for a single question, tried once.
func (p *place) ask(ctx context.Context, url string) (string, error) {
	body, err := get(ctx, p.web(5*time.Second), url)
	if err != nil {
		return "", fmt.Errorf("from %s: %w", p.name, err)
	}
	return body, nil
}
