package interop

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
)

// serve answers HTTP in a namespace with a name, until the test ends.
func serve(t testing.TB, ns *nstest.NS, address, name string) {
	t.Helper()
	var l net.Listener
	err := ns.Do(func() (err error) {
		l, err = new(net.ListenConfig).Listen(context.Background(), "tcp", address)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, name)
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }() // ends with Close
	t.Cleanup(func() { _ = s.Close(); <-done })
}

const (
	freshEvery = 5 * time.Millisecond // 200 a second, a connection each
	keptCount  = 24                   // connections that stay
	keptEvery  = 100 * time.Millisecond
	loadWait   = 5 * time.Second
)

// load asks for a page at an address, 200 times a second over new connections and ten times a second over each of
// some that it keeps.
type load struct {
	from *nstest.NS
	to   string
	stop chan struct{}
	wg   sync.WaitGroup

	mu    sync.Mutex
	fresh outcome
	kept  map[string]*outcome // by who answered on that connection
}

// outcome counts requests.
type outcome struct {
	sent, failed int
	slowest      time.Duration
	last         error
	by           map[string]int // who answered, how often
}

func (o outcome) String() string {
	return fmt.Sprintf("%d of %d failed, slowest %d ms, answers %v, last error %v", o.failed, o.sent, o.slowest.Milliseconds(), o.by, o.last)
}

func (o *outcome) note(who string, took time.Duration, err error) {
	o.sent++
	o.slowest = max(o.slowest, took)
	if err != nil {
		o.failed, o.last = o.failed+1, err
		return
	}
	if o.by == nil {
		o.by = map[string]int{}
	}
	o.by[who]++
}

// startLoad starts a load.
func startLoad(t testing.TB, from *nstest.NS, to netip.AddrPort) *load {
	t.Helper()
	l := &load{from: from, to: to.String(), stop: make(chan struct{}), kept: map[string]*outcome{}}
	nstest.Within(t, 10*time.Second, func() error {
		_, err := l.once()
		return err
	})
	l.wg.Go(func() {
		tick := time.NewTicker(freshEvery)
		defer tick.Stop()
		for {
			select {
			case <-l.stop:
				return
			case <-tick.C:
				l.wg.Go(func() {
					began := time.Now()
					who, err := l.once()
					l.mu.Lock()
					defer l.mu.Unlock()
					l.fresh.note(who, time.Since(began), err)
				})
			}
		}
	})
	for range keptCount {
		l.wg.Go(l.keep)
	}
	return l
}

// dial connects, from the load's namespace.
func (l *load) dial() (c net.Conn, err error) {
	err = l.from.Do(func() (err error) {
		c, err = net.DialTimeout("tcp", l.to, loadWait)
		return err
	})
	return c, err
}

// ask asks over a connection.
func ask(c net.Conn, r *bufio.Reader) (string, error) {
	_ = c.SetDeadline(time.Now().Add(loadWait))
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: service\r\n\r\n"); err != nil {
		return "", err
	}
	answer, err := http.ReadResponse(r, nil)
	if err != nil {
		return "", err
	}
	who, err := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	return string(who), err
}

func (l *load) once() (string, error) {
	c, err := l.dial()
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close() }()
	return ask(c, bufio.NewReader(c))
}

// keep keeps a connection, and takes another when it breaks.
func (l *load) keep() {
	tick := time.NewTicker(keptEvery)
	defer tick.Stop()
	var c net.Conn
	var r *bufio.Reader
	owner := ""
	for {
		select {
		case <-l.stop:
			if c != nil {
				_ = c.Close()
			}
			return
		case <-tick.C:
		}
		if c == nil {
			var err error
			if c, err = l.dial(); err != nil {
				c = nil // new connections are counted elsewhere
				continue
			}
			r, owner = bufio.NewReader(c), ""
		}
		began := time.Now()
		who, err := ask(c, r)
		if owner == "" {
			owner = who
		}
		l.mu.Lock()
		if l.kept[owner] == nil {
			l.kept[owner] = &outcome{}
		}
		l.kept[owner].note(who, time.Since(began), err)
		l.mu.Unlock()
		if err != nil {
			_ = c.Close()
			c = nil
		}
	}
}

// answers are how often each has answered over new connections so far.
func (l *load) answers() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := map[string]int{}
	for who, n := range l.fresh.by {
		out[who] = n
	}
	return out
}

// end ends the load and tells what became of it.
func (l *load) end() (fresh outcome, kept map[string]*outcome) {
	close(l.stop)
	l.wg.Wait()
	return l.fresh, l.kept
}
