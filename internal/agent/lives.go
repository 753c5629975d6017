package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/podroute/podroute/config"
)

// An agent that dies again and again must not call its neighbours each time: when a session is lost before it has been told all,
// neighbours delete what they have kept of it (RFC 4724 section 4.2). So lives that ended before they had settled are counted in
// the run folder, and each calls later than the one before. See docs/adr/0022.

const (
	livesFile = "lives"
	// settledAfter is how long after its first call an agent that lives, and has heard its neighbours, counts as settled.
	settledAfter = 30 * time.Second
	// The second life that is cut short calls after callFirst, and each one after that twice as late, up to callMost.
	callFirst = 2 * time.Second
	callMost  = 30 * time.Second
)

// lives is what is known of the lives before this one, in one boot. Times are those since the boot.
type lives struct {
	// Short counts those in a row that had not settled when they ended; the last of them is this one, until it has.
	Short int `json:"short"`
	// Called is when the last of them called its neighbours first; 0: none has.
	Called time.Duration `json:"called"`

	file    string
	log     *slog.Logger
	began   time.Duration
	calling bool // this one has called
	settled bool
}

// readLives reads what the lives before have noted, if this one is their heir, and notes that this one has begun. What cannot be
// read or noted is no reason not to live.
func readLives(dir string, log *slog.Logger, heir bool) *lives {
	l := &lives{file: filepath.Join(dir, livesFile), log: log, began: sinceBoot()}
	if text, err := os.ReadFile(l.file); heir && err == nil {
		if err := json.Unmarshal(text, l); err != nil {
			log.Warn("what earlier runs noted of themselves cannot be read", "file", l.file, "err", err)
			l.Short, l.Called = 0, 0
		}
	}
	l.Short++
	l.write()
	return l
}

func (l *lives) write() {
	if err := writeNote(l.file, l); err != nil {
		l.log.Warn("this run cannot note that it has begun: should it die early, the next one does not know", "err", err)
	}
}

// wait is how long to wait before the neighbours are called: the longer, the more lives were cut short, but not beyond half of the
// time for which neighbours keep our routes, counted from the last call.
func (l *lives) wait(now, restartTime time.Duration) time.Duration {
	if l.calling || l.Short < 2 || l.Called == 0 {
		return 0
	}
	pause := callFirst
	for i := 2; i < l.Short && pause < callMost; i++ {
		pause *= 2
	}
	at := min(l.began+min(pause, callMost), l.Called+restartTime/2)
	return max(at-now, 0)
}

// call notes that the neighbours are about to be called.
func (l *lives) call(now time.Duration) {
	if !l.calling {
		l.calling, l.Called = true, now
		l.write()
	}
}

// settle notes that this life has settled: its end will not be that of a loop.
func (l *lives) settle(now time.Duration, heard bool) {
	if !l.settled && l.calling && heard && now-l.Called >= settledAfter {
		l.settled = true
		l.inOrder()
	}
}

// inOrder notes that the end of this life, whenever it comes, is none of a loop.
func (l *lives) inOrder() {
	if err := os.Remove(l.file); err != nil && !errors.Is(err, os.ErrNotExist) {
		l.log.Warn("this run cannot note that it is in order", "err", err)
	}
}

// held is how long BGP and BFD have to wait, and says so.
func (a *Agent) held() time.Duration {
	restartTime := time.Duration(0)
	for _, p := range a.loop.desired.BGP.Peers {
		if p.GracefulRestart && (restartTime == 0 || p.RestartTime < restartTime) {
			restartTime = p.RestartTime
		}
	}
	if restartTime == 0 {
		return 0 // nobody keeps anything
	}
	return a.lives.wait(sinceBoot(), restartTime)
}

// hold says why no neighbour is called yet, and when that will be tried again.
func (a *Agent) hold(wait time.Duration) {
	if a.loop.call == nil {
		a.Log.Warn("earlier runs ended early; the neighbours, which keep this node's routes, are called later", "runs", a.lives.Short-1, "in", wait.Round(time.Millisecond))
	}
	a.loop.call = time.After(wait)
	a.loop.desired.Problems = append(a.loop.desired.Problems, config.Problem{
		Object:  "Node/" + a.NodeName,
		Message: fmt.Sprintf("the agent ended %d times in a row before its sessions had settled: it calls its neighbours in %v", a.lives.Short-1, wait.Round(time.Second)),
		Mend:    "see the log of the run before",
	})
}

// sinceBoot is the time since this host was booted; the clock is that of /proc/uptime, and nobody sets it.
func sinceBoot() time.Duration {
	var seconds float64
	text, err := os.ReadFile("/proc/uptime")
	if err == nil {
		_, err = fmt.Sscan(string(text), &seconds)
	}
	if err != nil {
		return 0
	}
	return time.Duration(seconds * float64(time.Second))
}
