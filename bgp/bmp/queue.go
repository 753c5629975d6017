package bmp

import (
	"sync"
	"sync/atomic"
)

// queue is what waits for a station that follows. It is bounded: when it is full, the station follows no more.
type queue struct {
	wake chan struct{}

	mu     sync.Mutex
	open   bool
	behind bool
	msgs   [][]byte
	bytes  int
}

// start has the station follow from now on.
func (q *queue) start(following *atomic.Int32) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.open, q.behind, q.msgs, q.bytes = true, false, nil, 0
	following.Add(1)
}

// stop undoes start, where there was one.
func (q *queue) stop(following *atomic.Int32) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.open || q.behind {
		following.Add(-1)
	}
	q.open, q.behind, q.msgs, q.bytes = false, false, nil, 0
}

func (q *queue) add(msg []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.open {
		return
	}
	q.msgs, q.bytes = append(q.msgs, msg), q.bytes+len(msg)
	if q.bytes > most {
		q.open, q.behind, q.msgs, q.bytes = false, true, nil, 0
	}
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take returns what waits; false: it was too much.
func (q *queue) take() ([][]byte, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	msgs := q.msgs
	q.msgs, q.bytes = nil, 0
	return msgs, !q.behind
}
