package bgp

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/osrg/gobgp/v4/api"

	"github.com/podroute/podroute/internal/rawbgp"
)

// heard is how many messages gobgp has taken from the neighbours that it has now, sound or not, but for those that keep sessions up.
func (c *child) heard(ctx context.Context) (n int, err error) {
	err = c.s.srv.ListPeer(ctx, &api.ListPeerRequest{}, func(p *api.Peer) {
		m := p.GetState().GetMessages().GetReceived()
		n += int(m.GetUpdate() + m.GetDiscarded() + m.GetNotification() + m.GetRefresh())
	})
	return n, err
}

// damaged is a message with up to most octets changed, none before from. The header stays sound, or nothing behind it is read.
func damaged(rnd *rand.Rand, msg []byte, most, from int) []byte {
	msg = slices.Clone(msg)
	for range 1 + rnd.IntN(most) {
		if len(msg) > from {
			msg[from+rnd.IntN(len(msg)-from)] = byte(rnd.UintN(256))
		}
	}
	return msg
}

// resized is a message that was cut off or drawn out, and says so in its header.
func resized(rnd *rand.Rand, msg []byte) []byte {
	switch n := len(msg); rnd.IntN(4) {
	case 0:
		msg = msg[:19+rnd.IntN(n-18)]
	case 1:
		for range 1 + rnd.IntN(40) {
			msg = append(msg, byte(rnd.UintN(256)))
		}
	}
	binary.BigEndian.PutUint16(msg[16:], uint16(len(msg)))
	return msg
}

// besieged is a speaker with many neighbours that lie, in rounds, and one that does not.
func besieged(t *testing.T, rounds int, lie func(c *crowded, i int, rnd *rand.Rand), tally func(*crowded)) {
	const liars = 40
	c := newCrowd(t, liars+1, nil)
	c.liars = liars
	sound := c.call(t, liars)
	sound.send(rawbgp.Announce([]uint32{65001}, addr("10.0.0.1"), prefixList("10.143.0.0/24")), rawbgp.EndOfRIB(false))
	rnds := make([]*rand.Rand, liars)
	for i := range rnds {
		rnds[i] = rand.New(rand.NewPCG(7606, uint64(i)))
	}
	most := 0
	began := time.Now()
	for round := range rounds {
		var all sync.WaitGroup
		for i := range liars {
			all.Go(func() { lie(c, i, rnds[i]) })
		}
		all.Wait()
		tally(c)
		c.renew()
		a := c.p.must("routes")
		if len(a.Routes[pfx("10.143.0.0/24")]) != 1 {
			t.Fatalf("the sound neighbour's route is gone after round %d", round)
		}
		if round == rounds/4 {
			most = a.RSS + 64<<10
		}
		if most > 0 && a.RSS > most {
			t.Fatalf("%d kB of memory after round %d, a quarter of the rounds took %d kB less", a.RSS, round, a.RSS-most+64<<10)
		}
		if round == rounds/4 || round == rounds-1 {
			t.Logf("%v: round %d, %d kB", time.Since(began).Round(time.Millisecond), round, a.RSS)
		}
	}
	select {
	case err := <-sound.failed:
		t.Errorf("the sound neighbour's session ended: %v", err)
	default:
	}
	if st := c.p.peer(c.c.Peers[liars].Name); st.Flaps != 0 || st.State != "Established" {
		t.Errorf("the sound neighbour: %+v", st)
	}
}

// Messages with octets changed at random: whatever happens to the sessions, which begin anew and anew, the process lives, and a
// sound neighbour does not notice.
func TestRandomlyDamagedMessages(t *testing.T) {
	t.Parallel()
	seeds, heard := hostiles(), 0
	gentle := slices.DeleteFunc(slices.Clone(seeds), func(h hostile) bool { return h.got == reset || h.got == "" && h.want == reset })
	besieged(t, 16, func(c *crowded, i int, rnd *rand.Rand) {
		r, err := c.dial(i)
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = r.Close() }()
		over := make(chan struct{})
		go func() {
			for {
				if _, err := r.Recv(); err != nil {
					close(over)
					return
				}
			}
		}()
		for range 100 {
			// Most that is wrong in lengths ends the session, with all that is still to be read.
			of, most, from := gentle, 1, 23
			if rnd.IntN(20) == 0 {
				of, most, from = seeds, 3, 19
			}
			if r.Send(damaged(rnd, of[rnd.IntN(len(of))].msg(pfx("10.141.0.0/24")), most, from)) != nil {
				break
			}
		}
		select {
		case <-over:
		case <-time.After(200 * time.Millisecond): // a message that was made longer waits for what never comes
		}
	}, func(c *crowded) { heard += c.p.must("heard").Count })
	t.Logf("%d messages were read", heard)
	if heard < 3500 {
		t.Errorf("only %d messages were read", heard)
	}
}

// OPENs with octets changed at random, cut off or drawn out.
func TestRandomlyDamagedOpens(t *testing.T) {
	t.Parallel()
	var seeds [][]byte
	for _, h := range hostileOpens() {
		if len(h.msg) > 19 && len(h.msg) < 1000 && h.msg[18] == rawbgp.TypeOpen && int(binary.BigEndian.Uint16(h.msg[16:])) == len(h.msg) {
			seeds = append(seeds, h.msg)
		}
	}
	var mu sync.Mutex
	fates := map[string]int{}
	besieged(t, 12, func(c *crowded, i int, rnd *rand.Rand) {
		conn, err := c.connect(i)
		if err != nil {
			t.Error(err)
			return
		}
		fate := up
		s, err := rawbgp.Offer(conn, resized(rnd, damaged(rnd, seeds[rnd.IntN(len(seeds))], 3, 19)), 3*time.Second)
		if err == nil {
			_ = s.Close()
		} else {
			fate = fateOf(err)
		}
		mu.Lock()
		defer mu.Unlock()
		fates[fate]++
	}, func(*crowded) {})
	t.Logf("fates: %v", fates)
	judged := 0
	for fate, n := range fates {
		if fate != closed && fate != "silence" {
			judged += n
		}
	}
	if judged < 430 {
		t.Errorf("only %d of 480 OPENs were judged", judged)
	}
}

// connect is a TCP connection of a neighbour's, tried until the speaker takes it.
func (c *crowded) connect(i int) (conn net.Conn, err error) {
	err = c.ns.Do(func() error {
		d := net.Dialer{Timeout: time.Second, LocalAddr: &net.TCPAddr{IP: c.c.Peers[i].Address.AsSlice()}}
		conn, err = d.Dial("tcp", "10.0.0.2:179")
		return err
	})
	return conn, err
}

// dial is a session of a neighbour's. The speaker may just have been told of it.
func (c *crowded) dial(i int) (*rawbgp.Session, error) {
	q := c.c.Peers[i]
	deadline := time.Now().Add(20 * time.Second)
	for {
		conn, err := c.connect(i)
		if err != nil {
			return nil, err
		}
		s, err := rawbgp.Handshake(conn, rawbgp.Open{AS: q.AS, ID: q.Address, Hold: 90, IPv4: true, IPv6: true}, 3*time.Second)
		if err == nil || time.Now().After(deadline) {
			return s, err
		}
		time.Sleep(20 * time.Millisecond)
	}
}
