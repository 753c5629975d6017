package bgp

import (
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// patience is how long a neighbour may take to answer, or to call, before its silence is a reason: gobgp's first call goes out
// within five seconds.
const patience = 7 * time.Second

// dropped are the TCP segments that the kernel has dropped for their MD5 signatures, since boot and whoever sent them: wrong and
// missing ones, and those that nobody asked for. The kernel tells nobody from whom they came (its tracepoints apart).
type dropped struct{ otherwise, unasked uint64 }

// droppedNow reads the kernel's counters in the process's network namespace; zero where they cannot be read.
func droppedNow() dropped {
	text, err := os.ReadFile("/proc/self/net/netstat")
	if err != nil {
		return dropped{}
	}
	return droppedOf(string(text))
}

// droppedOf reads the counters from /proc/net/netstat: of each group a line with names and one with numbers.
func droppedOf(text string) dropped {
	var d dropped
	lines := strings.Split(text, "\n")
	for i := 0; i+1 < len(lines); i += 2 {
		names, values := strings.Fields(lines[i]), strings.Fields(lines[i+1])
		if len(names) == 0 || names[0] != "TcpExt:" || len(values) != len(names) {
			continue
		}
		for j, name := range names {
			n, err := strconv.ParseUint(values[j], 10, 64)
			if err != nil {
				continue
			}
			switch name {
			case "TCPMD5NotFound", "TCPMD5Failure":
				d.otherwise += n
			case "TCPMD5Unexpected":
				d.unasked += n
			}
		}
	}
	return d
}

// readLeast is how long what was read of the kernel's counters is good: where many sessions are lost at once, they are not read
// for each. That a drop is taken for one after the loss, which was up to that long before it, does no harm.
const readLeast = 100 * time.Millisecond

// counters are the kernel's, read as seldom as will do.
type counters struct {
	read func() dropped

	mu   sync.Mutex
	at   time.Time
	last dropped
}

func (k *counters) now() dropped {
	k.mu.Lock()
	defer k.mu.Unlock()
	if at := time.Now(); k.at.IsZero() || at.Sub(k.at) >= readLeast {
		k.at, k.last = at, k.read()
	}
	return k.last
}

// lately is how long dropped segments are news: a router may call every two minutes only (ConnectRetryTime, RFC 4271 section 10).
const lately = 5 * time.Minute

// drops are when segments were last dropped, as far as was looked.
type drops struct {
	seen               dropped
	otherwise, unasked time.Time
}

func (d *drops) look(now dropped, at time.Time) {
	if now.otherwise > d.seen.otherwise {
		d.otherwise = at
	}
	if now.unasked > d.seen.unasked {
		d.unasked = at
	}
	d.seen = now
}

// lately says whether calls were dropped that may have been for a range with a password, or for one without.
func (d *drops) lately(password bool, now time.Time) bool {
	last := d.unasked
	if password {
		last = d.otherwise
	}
	return !last.IsZero() && now.Sub(last) < lately
}

// awaits is why a session is not up of which nothing has been heard yet; no Reason while it is too early to say, or where it
// is known better. seen is what the kernel has dropped until now.
func (x *session) awaits(now time.Time, seen dropped) (Reason, string) {
	heard := x.reason != ReasonNone && x.reason != ReasonReconfigured && x.reason != ReasonNoAnswer
	if x.state == gobgp.BGP_FSM_ESTABLISHED || heard || x.barred || x.peer.Down || now.Sub(x.since) < patience {
		return ReasonNone, ""
	}
	text := noAnswer(x.peer)
	if x.peer.Passive {
		text = noCall(x.peer)
	}
	switch {
	case x.peer.Password != "" && seen.otherwise > x.before.otherwise:
		text += "; meanwhile the kernel has dropped segments that were not signed, or with another password"
	case x.peer.Password == "" && seen.unasked > x.before.unasked:
		text += "; meanwhile the kernel has dropped segments that were signed with a password, and there is none here"
	}
	return ReasonNoAnswer, text
}

// noAnswer says what it may mean that nobody answers a call; a wrong password looks like nobody being there.
func noAnswer(p Peer) string {
	if p.Password != "" {
		return "no answer: the password differs, or the neighbour cannot be reached"
	}
	return "no answer: the neighbour cannot be reached, or it wants a password"
}

// noCall says what it may mean that a neighbour does not call which is waited for.
func noCall(p Peer) string {
	if p.Password != "" {
		return "it has not called, and we wait for it (passive): if it calls, the password differs; else it does not have us configured, or cannot reach us"
	}
	return "it has not called, and we wait for it (passive): it does not have us configured, cannot reach us, or signs with a password"
}
