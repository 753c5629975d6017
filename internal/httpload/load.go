package httpload

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
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

// Outcome counts requests.
type Outcome struct {
	Sent    int
	Slowest time.Duration
	Failed  []Failure
	By      map[string]int // who answered, how often
}

// Failure is a request that got no answer. It was cut if its connection was made and then reset: something moved it, while it
// was under way, to somebody who does not know it.
type Failure struct {
	Began, Ended time.Time
	Cut          bool
	Err          error
}

func (f Failure) String() string {
	return fmt.Sprintf("%s, %v long: %v", f.Began.Format("15:04:05.000"), f.Ended.Sub(f.Began).Round(time.Millisecond), f.Err)
}

// Near is how far a failure and the switch that is to explain it may be apart: the moment of a switch is told by a program that has
// to wait for a processor, too.
const Near = time.Second

// Unexplained are the failures that no switch explains, a moment at which traffic was led another way: all that were not cut, and those
// that were not under way at a switch, or near one.
func (o Outcome) Unexplained(switches []time.Time) []Failure {
	return slices.DeleteFunc(slices.Clone(o.Failed), func(f Failure) bool {
		return f.Cut && slices.ContainsFunc(switches, func(at time.Time) bool {
			return !at.Before(f.Began.Add(-Near)) && !at.After(f.Ended.Add(Near))
		})
	})
}

// Cut are the failures that were cut.
func (o Outcome) Cut() int {
	n := 0
	for _, f := range o.Failed {
		if f.Cut {
			n++
		}
	}
	return n
}

func (o Outcome) String() string {
	text := fmt.Sprintf("%d of %d failed, %d of these under way, slowest %d ms, answers %v", len(o.Failed), o.Sent, o.Cut(), o.Slowest.Milliseconds(), o.By)
	if n := len(o.Failed); n > 0 {
		text += fmt.Sprintf(", the last at %v", o.Failed[n-1])
	}
	return text
}

func (o *Outcome) note(who string, began time.Time, err error) {
	now := time.Now()
	o.Sent++
	o.Slowest = max(o.Slowest, now.Sub(began))
	if err != nil {
		var dial *net.OpError
		cut := errors.Is(err, syscall.ECONNRESET) && (!errors.As(err, &dial) || dial.Op != "dial")
		o.Failed = append(o.Failed, Failure{began, now, cut, err})
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
				l.fresh.note(who, began, err)
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
		l.kept[owner].note(who, began, err)
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
