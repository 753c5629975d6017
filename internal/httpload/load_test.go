package httpload

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
)

// TestFailures: who nobody answers was refused, and who is reset after he was let in was cut, at which moment each.
func TestFailures(t *testing.T) {
	t.Parallel()
	on, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := on.Addr().String()
	var resets atomic.Bool
	resets.Store(true)
	began := time.Now()
	stop := Serve(resetting{on, &resets}, "n1")
	l := StartNew("/", func() (net.Conn, error) {
		return (&net.Dialer{Timeout: time.Second}).DialContext(context.Background(), "tcp", address)
	})
	count := func() (sent, failed, cut int) {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.fresh.Sent, len(l.fresh.Failed), l.fresh.Cut()
	}
	wait := func(enough func(sent, failed, cut int) bool) {
		t.Helper()
		nstest.Within(t, 5*time.Second, func() error {
			if !enough(count()) {
				return errors.New("not enough requests yet")
			}
			return nil
		})
	}
	wait(func(_, _, cut int) bool { return cut >= 5 })
	resets.Store(false)
	var switches []time.Time
	for at := began; at.Before(time.Now().Add(Near)); at = at.Add(Near) {
		switches = append(switches, at)
	}
	wait(func(sent, failed, _ int) bool { return sent > failed+5 })
	_, _, cut := count()
	stop()
	wait(func(_, failed, _ int) bool { return failed > cut+5 })
	o, _ := l.Stop()
	if o.Cut() < 5 || len(o.Failed) < o.Cut()+5 || o.By["n1"] < 5 {
		t.Errorf("%v", o)
	}
	if n := len(o.Unexplained(nil)); n != len(o.Failed) {
		t.Errorf("without a switch %d failures of %d are unexplained", n, len(o.Failed))
	}
	if n := len(o.Unexplained(switches)); n != len(o.Failed)-o.Cut() {
		t.Errorf("with switches all the while %d failures are unexplained, and %d of %d were cut", n, o.Cut(), len(o.Failed))
	}
}

// resetting is a listener whose connections are reset as long as it is wanted.
type resetting struct {
	net.Listener
	wanted *atomic.Bool
}

func (l resetting) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil || !l.wanted.Load() {
			return c, err
		}
		_ = c.(*net.TCPConn).SetLinger(0) // closed with RST
		_ = c.Close()
	}
}

func TestUnexplained(t *testing.T) {
	t.Parallel()
	at := func(ms int) time.Time { return time.UnixMilli(100_000 + int64(ms)) }
	for _, c := range []struct {
		name         string
		began, ended int // ms after the switch
		cut, counts  bool
	}{
		{"under way", -5, 5, true, false},
		{"long under way", -60_000, 5, true, false},
		{"over just before", -20, -10, true, false},
		{"begun just after", 10, 20, true, false},
		{"over well before", -2000, -1001, true, true},
		{"begun well after", 1001, 1010, true, true},
		{"refused at the switch", -5, 5, false, true},
	} {
		o := Outcome{Failed: []Failure{{at(c.began), at(c.ended), c.cut, errors.New("x")}}}
		if got := len(o.Unexplained([]time.Time{at(-30_000), at(0), at(30_000)})); (got == 1) != c.counts {
			t.Errorf("%s: %d unexplained", c.name, got)
		}
	}
}
