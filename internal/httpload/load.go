package httpload

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"
)

const (
	freshEvery = 5 * time.Millisecond // 200 a second, a connection each
	keptCount  = 24                   // connections that stay
	keptEvery  = 100 * time.Millisecond
	patience   = 5 * time.Second
)

// Outcome counts requests. Cut are those of Failed whose connection was made and then reset: something moved it, while it was
// under way, to somebody who does not know it.
type Outcome struct {
	Sent, Failed, Cut int
	Slowest           time.Duration
	Last              error          // of those that failed
	By                map[string]int // who answered, how often
}

func (o Outcome) String() string {
	text := fmt.Sprintf("%d of %d failed, %d of these under way, slowest %d ms, answers %v", o.Failed, o.Sent, o.Cut, o.Slowest.Milliseconds(), o.By)
	if o.Last != nil {
		text += fmt.Sprintf(", last error: %v", o.Last)
	}
	return text
}

func (o *Outcome) note(who string, took time.Duration, err error) {
	o.Sent++
	o.Slowest = max(o.Slowest, took)
	if err != nil {
		o.Failed, o.Last = o.Failed+1, err
		var dial *net.OpError
		if errors.Is(err, syscall.ECONNRESET) && (!errors.As(err, &dial) || dial.Op != "dial") {
			o.Cut++
		}
		return
	}
	if o.By == nil {
		o.By = map[string]int{}
	}
	o.By[who]++
}

// Load is a load that runs.
type Load struct {
	dial func() (net.Conn, error)
	path string
	stop chan struct{}
	wg   sync.WaitGroup

	mu    sync.Mutex
	fresh Outcome
	kept  map[string]*Outcome // by who answered first on the connection
}

// Start asks for a page over connections that dial makes, until Stop.
func Start(path string, dial func() (net.Conn, error)) *Load {
	l := StartNew(path, dial)
	for range keptCount {
		l.wg.Go(l.keep)
	}
	return l
}

// StartNew is Start without connections that are kept.
func StartNew(path string, dial func() (net.Conn, error)) *Load {
	l := &Load{dial: dial, path: path, stop: make(chan struct{}), kept: map[string]*Outcome{}}
	l.wg.Go(l.renew)
	return l
}

// renew asks over new connections, without waiting for the answer before.
func (l *Load) renew() {
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
}

func (l *Load) once() (string, error) { return l.Ask(l.path) }

// Ask asks for a page over a new connection, by the way; it is not counted.
func (l *Load) Ask(path string) (string, error) {
	c, err := l.dial()
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close() }()
	return ask(path, c, bufio.NewReader(c))
}

// ask asks over a connection. It does not try again, as a client library might.
func ask(path string, c net.Conn, r *bufio.Reader) (string, error) {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: service\r\n\r\n", path); err != nil {
		return "", err
	}
	answer, err := http.ReadResponse(r, nil)
	if err != nil {
		return "", err
	}
	defer func() { _ = answer.Body.Close() }()
	who, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("answer %s", answer.Status)
	}
	return string(who), err
}

// keep keeps a connection, and takes another when it breaks.
func (l *Load) keep() {
	tick := time.NewTicker(keptEvery)
	defer tick.Stop()
	for {
		c, err := l.dial()
		if err == nil {
			l.use(c, tick.C)
			_ = c.Close()
		}
		select {
		case <-l.stop:
			return
		case <-tick.C: // that a connection cannot be had is counted with the new ones
		}
	}
}

// use asks over a connection until it breaks, or the end.
func (l *Load) use(c net.Conn, tick <-chan time.Time) {
	r, owner := bufio.NewReader(c), ""
	for {
		began := time.Now()
		who, err := ask(l.path, c, r)
		if owner == "" {
			owner = who
		}
		l.mu.Lock()
		if l.kept[owner] == nil {
			l.kept[owner] = &Outcome{}
		}
		l.kept[owner].note(who, time.Since(began), err)
		l.mu.Unlock()
		if err != nil {
			return
		}
		select {
		case <-l.stop:
			return
		case <-tick:
		}
	}
}

// Refused are the requests of those that failed that were not under way: nobody was there for them.
func (o Outcome) Refused() int { return o.Failed - o.Cut }

// Answers are how often each has answered over new connections so far.
func (l *Load) Answers() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.fresh.By)
}

// Stop ends the load, waits for the answers that are under way, and tells what became of it: over new connections, and
// over those that were kept, by who had answered first on them.
func (l *Load) Stop() (fresh Outcome, kept map[string]Outcome) {
	close(l.stop)
	l.wg.Wait()
	kept = map[string]Outcome{}
	for who, o := range l.kept {
		kept[who] = *o
	}
	return l.fresh, kept
}

// Slow is the page that takes its time: a letter of the name every SlowStep, over and over, SlowSteps times.
const (
	Slow      = "/slow"
	SlowStep  = 100 * time.Millisecond
	SlowSteps = 30
)

// Serve answers HTTP on a listener with a name, until the listener is closed by the function that it returns.
func Serve(on net.Listener, name string) (stop func()) {
	s := &http.Server{ReadHeaderTimeout: patience, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != Slow {
			_, _ = io.WriteString(w, name)
			return
		}
		tick := time.NewTicker(SlowStep)
		defer tick.Stop()
		for i := range SlowSteps {
			if _, err := io.WriteString(w, name[i%len(name):][:1]); err != nil || http.NewResponseController(w).Flush() != nil {
				return
			}
			<-tick.C
		}
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(on) }() // ends with Close
	return func() { _ = s.Close(); <-done }
}
