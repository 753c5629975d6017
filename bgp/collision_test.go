package bgp

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/rawbgp"
)

// Both ends call at once, and the neighbour's OPEN on its own connection is late. The connection that is not taken is closed
// after a while: the neighbour may be waiting on it, and gobgp is.
func TestForgottenConnection(t *testing.T) {
	t.Parallel()
	us, torNS := pair(t)
	l := listen(t, torNS, "10.0.0.1:179", "", netip.Addr{})
	speak(t, us, nil, them())
	var theirs net.Conn
	for deadline := time.Now().Add(10 * time.Second); theirs == nil; { // it calls, and says nothing
		err := torNS.Do(func() (err error) {
			d := net.Dialer{Timeout: time.Second, LocalAddr: &net.TCPAddr{IP: net.IP{10, 0, 0, 1}}}
			theirs, err = d.Dial("tcp", "10.0.0.2:179")
			return err
		})
		if err != nil && time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	buf := make([]byte, 4096)
	_ = theirs.SetReadDeadline(time.Now().Add(5 * time.Second))
	if n, err := theirs.Read(buf); err != nil || n < 19 || buf[18] != rawbgp.TypeOpen {
		t.Fatalf("no OPEN on the neighbour's call: %d bytes, %v", n, err)
	}
	ours := answerCall(t, l, tor())
	ours.send(rawbgp.Notification(6, 7))
	_ = ours.Close()
	_ = theirs.SetReadDeadline(time.Now().Add(8 * time.Second))
	if _, err := theirs.Read(buf); err == nil {
		t.Error("more was said on the forgotten connection")
	} else if e, ok := err.(net.Error); ok && e.Timeout() { //nolint:errorlint // it is not wrapped
		t.Error("the forgotten connection is still open")
	}
}
