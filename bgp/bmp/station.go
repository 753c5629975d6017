package bmp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

const (
	// retryFirst and retryMost bound the wait before a station is called again; it doubles each time
	// (RFC 7854 section 3.2).
	retryFirst = 2 * time.Second
	retryMost  = 12 * time.Minute
	// steady is how long a connection must last for the wait to begin anew.
	steady      = 30 * time.Second
	dialTime    = 10 * time.Second
	writeTime   = 30 * time.Second
	partingTime = time.Second
	// most is how many bytes may wait for a station.
	most = 32 << 20
	// atOnce is how many bytes are gathered for one write.
	atOnce = 64 << 10
)

var errBehind = fmt.Errorf("it does not read: %d MiB waited for it; it is told all anew", most>>20)

// station is one whom we call.
type station struct {
	Station
	exporter *Exporter
	queue    queue

	mu    sync.Mutex
	state State
}

func newStation(e *Exporter, s Station) *station {
	return &station{Station: s, exporter: e, queue: queue{wake: make(chan struct{}, 1)}, state: State{Station: s, Since: time.Now()}}
}

func (s *station) look() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// run calls the station, again and again, until ctx ends.
func (s *station) run(ctx context.Context) {
	wait := retryFirst
	log := s.exporter.Log.With("station", s.Addr)
	for ctx.Err() == nil {
		began := time.Now()
		err := s.call(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > steady {
			wait = retryFirst
		}
		if s.note(false, err) {
			log.Warn("BMP station is not connected", "err", err, "again in", wait)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		wait = min(2*wait, retryMost)
	}
}

// note notes what has become of the connection, and tells whether that is news.
func (s *station) note(connected bool, err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := ""
	if err != nil {
		text = err.Error()
	}
	news := s.state.Connected != connected || s.state.Error != text
	if s.state.Connected != connected {
		s.state.Since = time.Now()
	}
	s.state.Connected, s.state.Error = connected, text
	return news
}

// call connects, tells all that stands, and then what comes, until the connection is lost or ctx ends.
func (s *station) call(ctx context.Context) error {
	d := net.Dialer{Timeout: dialTime}
	conn, err := d.DialContext(ctx, "tcp", s.Addr.String())
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer conn.Close()
	parting := context.AfterFunc(ctx, func() { _ = conn.SetWriteDeadline(time.Now().Add(partingTime)) })
	defer parting()
	gone := make(chan struct{})
	go func() { // a station says nothing; this notices when it closes
		defer close(gone)
		_, _ = io.Copy(io.Discard, conn)
	}()
	defer s.queue.stop(&s.exporter.following)
	s.note(true, nil)
	s.exporter.Log.Info("BMP station is connected", "station", s.Addr)
	w := &writer{conn: conn, station: s}
	if err := w.write(initiation(s.exporter.Name, s.exporter.Description)); err != nil {
		return err
	}
	for msg := range s.exporter.Source.Dump(func() { s.queue.start(&s.exporter.following) }) {
		if err := w.write(msg); err != nil {
			return err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return s.follow(ctx, w, gone)
}

// follow tells what comes.
func (s *station) follow(ctx context.Context, w *writer, gone <-chan struct{}) error {
	var numbers <-chan time.Time
	if s.Statistics > 0 {
		tick := time.NewTicker(s.Statistics)
		defer tick.Stop()
		numbers = tick.C
	}
	for {
		msgs, ok := s.queue.take()
		if !ok {
			return errBehind
		}
		for _, m := range msgs {
			if err := w.write(m); err != nil {
				return err
			}
		}
		if err := w.flush(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			_ = w.conn.SetWriteDeadline(time.Now().Add(partingTime))
			_, _ = w.conn.Write(termination())
			return ctx.Err()
		case <-gone:
			return errors.New("it closed the connection")
		case <-numbers:
			for _, m := range s.exporter.Source.Numbers() {
				if err := w.write(m); err != nil {
					return err
				}
			}
		case <-s.queue.wake:
		}
	}
}

// writer gathers messages for few writes.
type writer struct {
	conn    net.Conn
	station *station
	buf     []byte
	held    uint64
}

func (w *writer) write(msg []byte) error {
	w.buf = append(w.buf, msg...)
	w.held++
	if len(w.buf) < atOnce {
		return nil
	}
	return w.flush()
}

func (w *writer) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	if err := w.conn.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	if _, err := w.conn.Write(w.buf); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	w.station.mu.Lock()
	w.station.state.Sent += w.held
	w.station.mu.Unlock()
	w.buf, w.held = w.buf[:0], 0
	return nil
}
