package bgp

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// diallers hear from gobgp's log what no event of it tells: why a neighbour could not be dialled, which
// NOTIFICATIONs went back and forth before a session was up, and what the neighbours say then (table.hear).
type diallers struct {
	log      *slog.Logger
	sessions *sessions
	table    *table
	callers  *callers
}

func newDiallers(log *slog.Logger, s *sessions, t *table, k *callers) *diallers {
	return &diallers{log: log, sessions: s, table: t, callers: k}
}

func (d *diallers) handler(life int) slog.Handler {
	return &handler{diallers: d, voice: voice{life: life}, next: d.log.Handler()}
}

// handler is gobgp's slog handler. gobgp makes a logger of its own for each neighbour.
type handler struct {
	*diallers
	voice
	next slog.Handler
}

// Enabled lets warnings through, what is said of callers, and everything about neighbours.
func (h *handler) Enabled(_ context.Context, l slog.Level) bool {
	return l >= slog.LevelInfo || h.peer.IsValid()
}

// noise says whether a warning of gobgp's means nothing to anybody.
func noise(msg string) bool {
	switch msg {
	case "Closed an accepted connection", // of a neighbour that called twice
		"failed to stop BGP server",                               // it was stopped before
		"previous setting admin state request is still remaining", // it is being shut down already
		"prefix limit reached",                                    // is told by us
		"failed to unset md5":                                     // there was no key
		return true
	}
	return false
}

// Handle reads the message, and passes warnings on one level lower: to gobgp every closed connection is one.
func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	if h.peer.IsValid() {
		if r.Message == saysSent {
			h.sessions.said(h.peer, r)
			return nil
		}
		if h.table.hear(h.voice, r) {
			return nil
		}
		h.sessions.heard(h.voice, r)
	} else if r.Message == saysUnknown {
		h.callers.called(keyOf(r))
	}
	if r.Level < slog.LevelWarn {
		return nil
	}
	r.Level -= 4
	if !h.next.Enabled(ctx, r.Level) || noise(r.Message) {
		return nil
	}
	r.Message = "gobgp: " + r.Message
	return h.next.Handle(ctx, r)
}

// keyOf is the address that a message is about; the zero Addr where it is about none.
func keyOf(r slog.Record) (out netip.Addr) {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "Key" {
			out, _ = netip.ParseAddr(a.Value.String())
		}
		return !out.IsValid()
	})
	return out
}

// WithAttrs remembers the neighbour that the logger is for, which is being added.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	out := *h
	out.next = h.next.WithAttrs(attrs)
	for _, a := range attrs {
		if a.Key == "Key" {
			if addr, err := netip.ParseAddr(a.Value.String()); err == nil {
				out.peer, out.born = addr, time.Now()
			}
		}
	}
	return &out
}

// WithGroup is not used by gobgp.
func (h *handler) WithGroup(name string) slog.Handler {
	out := *h
	out.next = h.next.WithGroup(name)
	return &out
}

// heard turns what gobgp's log says of a neighbour into the reason why its session is not up. What it says of one as it was before it
// was removed is history.
func (s *sessions) heard(v voice, r slog.Record) {
	switch r.Message {
	case "hold timer expired", "failed to connect", "sent notification", "received notification", "outgoing connection IO error", saysStillborn:
	default:
		return
	}
	attrs := map[string]slog.Value{}
	r.Attrs(func(a slog.Attr) bool { attrs[a.Key] = a.Value; return true })
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.byAddr[v.peer]
	if x == nil {
		return
	}
	late := v.born.Before(x.from)
	if r.Message == "hold timer expired" {
		x.silent = x.silent || !late
		return
	}
	if r.Message == saysStillborn {
		if !late {
			s.misdialled(x)
		}
		return
	}
	why, text, ok := heardOf(r.Message, attrs)
	if ok {
		x.note = note{time.Now(), text}
		if !late && x.state == gobgp.BGP_FSM_ESTABLISHED && attrs["Code"].Kind() == slog.KindInt64 && attrs["Subcode"].Kind() == slog.KindInt64 {
			x.ending = endingOf(why, attrs["Code"].Int64(), attrs["Subcode"].Int64())
			data, _ := attrs["Data"].Any().([]byte)
			x.parting = notification(uint8(attrs["Code"].Int64()), uint8(attrs["Subcode"].Int64()), data)
		}
	}
	if late || x.state == gobgp.BGP_FSM_ESTABLISHED || x.barred || x.peer.Down {
		return
	}
	if x.reason == ReasonLost && r.Message == "sent notification" {
		return // the end of the session that was lost
	}
	switch r.Message {
	case "failed to connect":
		why, text = dialReason(x.peer, attrs["Error"].String())
	case "outgoing connection IO error":
		why, text = ReasonClosed, "the neighbour closed the connection before OPEN: it may not have us configured"
	}
	if why != x.reason || text != x.text {
		x.reason, x.text = why, text
		signal(s.changed)
	}
}

// dialReason says what a failed connect(2) may mean.
func dialReason(p Peer, text string) (Reason, string) {
	if i := strings.LastIndex(text, ": "); i >= 0 {
		text = text[i+2:]
	}
	if text != "i/o timeout" {
		return ReasonConnect, fmt.Sprintf("connect to port %d: %s", p.Port, text)
	}
	return ReasonNoAnswer, noAnswer(p)
}
