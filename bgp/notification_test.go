package bgp

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/internal/rawbgp"
)

func TestNotificationTexts(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		code, subcode uint8
		communication string
		data          string
		want          string
	}{
		{1, 1, "", "", "Message Header Error, Connection Not Synchronized"},
		{2, 2, "", "", "OPEN Message Error, Bad Peer AS"},
		{2, 11, "", "", "OPEN Message Error, Role Mismatch"},
		{2, 5, "", "", "OPEN Message Error, subcode 5"},
		{3, 11, "", "", "UPDATE Message Error, Malformed AS_PATH"},
		{4, 0, "", "", "Hold Timer Expired"},
		{5, 3, "", "", "Finite State Machine Error, Receive Unexpected Message in Established State"},
		{6, 0, "", "", "Cease"},
		{6, 1, "", "\x00\x01\x01\x00\x00\x00\x04", "Cease, Maximum Number of Prefixes Reached"},
		{6, 2, "back at noon", "", `Cease, Administrative Shutdown: "back at noon"`},
		{6, 4, "Grüße\xff\x1b[2J", "", `Cease, Administrative Reset: "Grüße?\x1b[2J"`},
		{6, 9, "", "\x06\x02\x05later", `Cease, Hard Reset: Cease, Administrative Shutdown: "later"`},
		{6, 9, "", "\x06\x03", "Cease, Hard Reset: Cease, Peer De-configured"},
		{6, 9, "", "\x06\x02\xffshort", "Cease, Hard Reset: Cease, Administrative Shutdown"},
		{6, 9, "", "\x06\x09\x06\x09", "Cease, Hard Reset"},
		{6, 9, "", "", "Cease, Hard Reset"},
		{6, 10, "", "", "Cease, BFD Down"},
		{7, 1, "", "", "ROUTE-REFRESH Message Error, Invalid Message Length"},
		{8, 0, "", "", "Send Hold Timer Expired"},
		{99, 7, "", "", "error code 99, subcode 7"},
	} {
		if got := notificationText(x.code, x.subcode, x.communication, []byte(x.data)); got != x.want {
			t.Errorf("%d/%d is %q, want %q", x.code, x.subcode, got, x.want)
		}
	}
}

// What ended a session is told by its name, with what the neighbour's administrator has to say, and is still known when the
// session is back.
func TestLastDown(t *testing.T) {
	t.Parallel()
	us, torNS := pair(t)
	p, _ := speak(t, us, nil, passive())
	for flaps, x := range []struct {
		msg  []byte
		want string
	}{
		{rawbgp.Notification(6, 2, append([]byte{12}, "back at noon"...)...), `the neighbour sent NOTIFICATION: Cease, Administrative Shutdown: "back at noon"`},
		{rawbgp.Notification(6, 3), "the neighbour sent NOTIFICATION: Cease, Peer De-configured"},
		{rawbgp.Message(9, nil), "we sent NOTIFICATION: Message Header Error, Bad Message Type"},
	} {
		r := dial(t, torNS, "10.0.0.1", "10.0.0.2", tor())
		p.established("tor")
		before := time.Now()
		r.send(x.msg)
		nstest.Within(t, 5*time.Second, func() error {
			if st := p.peer("tor"); st.LastDown != x.want || st.LastError != x.want || st.Flaps != flaps+1 || st.LastDownAt.Before(before) {
				return fmt.Errorf("%d flaps, last %q at %v, last error %q; want %q", st.Flaps, st.LastDown, st.LastDownAt, st.LastError, x.want)
			}
			return nil
		})
		_ = r.Close()
	}
	dial(t, torNS, "10.0.0.1", "10.0.0.2", tor())
	p.established("tor")
	if st := p.peer("tor"); st.LastError != "" || st.LastDown != "we sent NOTIFICATION: Message Header Error, Bad Message Type" || st.Flaps != 3 {
		t.Errorf("back: %+v", st)
	}
}

// What was said to a neighbour as it was before it was removed is its last NOTIFICATION, and no reason why it is not up now.
func TestLateNotification(t *testing.T) {
	t.Parallel()
	tab := newTable(make(chan struct{}, 1), newAgenda())
	s := newSessions(slog.New(slog.DiscardHandler), make(chan struct{}, 1), tab)
	peer := Peer{Name: "a", Address: addr("10.0.0.1"), AS: 1, Passive: true}
	s.set([]Peer{peer}, false)
	before := voice{peer: peer.Address, born: time.Now()}
	s.heed(peer.Address, time.Now().Add(time.Nanosecond))
	r := slog.NewRecord(time.Time{}, slog.LevelWarn, "sent notification", 0)
	r.AddAttrs(slog.Int("Code", 6), slog.Int("Subcode", 3))
	s.heard(before, r)
	x := s.byAddr[peer.Address]
	if x.reason != ReasonNone || x.note.text == "" {
		t.Errorf("late: reason %q, note %q", x.reason, x.note.text)
	}
	if s.heard(voice{peer: peer.Address, born: time.Now().Add(time.Second)}, r); x.reason != ReasonNotificationSent {
		t.Errorf("in time: reason %q", x.reason)
	}
}
