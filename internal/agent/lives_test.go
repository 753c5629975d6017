package agent

import (
	"log/slog"
	"testing"
	"time"
)

func TestLives(t *testing.T) {
	t.Parallel()
	const s = time.Second
	dir, log := t.TempDir(), slog.New(slog.DiscardHandler)
	begin := func(at time.Duration) *lives {
		l := readLives(dir, log, true)
		l.began = at
		return l
	}
	wait := func(l *lives, now, restartTime, want time.Duration) {
		t.Helper()
		if got := l.wait(now, restartTime); got != want {
			t.Errorf("life %d waits %v at %v, want %v", l.Short, got, now, want)
		}
	}
	l := begin(1000 * s)
	wait(l, 1000*s, 120*s, 0) // the first has no bad omen
	l.call(1000 * s)
	for i, pause := range []time.Duration{2 * s, 4 * s, 8 * s, 16 * s, 30 * s, 30 * s} {
		now := 1010*s + time.Duration(i)*40*s
		l = begin(now)
		wait(l, now, 200*s, pause)
		wait(l, now+pause-s, 200*s, s)
		wait(l, now+pause, 200*s, 0)
		l.call(now + pause)
		wait(l, now+pause, 200*s, 0) // it has begun, and settings may change
	}
	// Those that end before they call do not make neighbours forget us: half of the restart time is all.
	called := l.Called
	for i := range 5 {
		l = begin(called + time.Duration(10*i)*s)
		wait(l, l.began, 60*s, max(min(30*s, 30*s-time.Duration(10*i)*s), 0))
	}
	l.call(2000 * s)
	l.settle(2010*s, true)
	l.settle(2040*s, false)
	if next := readLives(dir, log, true); next.Short != l.Short+1 {
		t.Errorf("a life that did not settle is followed by number %d, it was %d", next.Short, l.Short)
	}
	l.settle(2040*s, true)
	if next := readLives(dir, log, true); next.Short != 1 || next.Called != 0 {
		t.Errorf("a life that settled is followed by %+v", next)
	}
	if next := readLives(dir, log, false); next.Short != 1 {
		t.Errorf("a life that is nobody's heir has number %d", next.Short)
	}
}
