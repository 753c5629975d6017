package bfd

import (
	"bytes"
	"errors"
	"testing"
)

// good is a packet that passes parse: Up, 3×50 ms.
func good() []byte {
	p := packet{state: Up, mult: 3, my: 1, your: 2, minTX: 50_000, minRX: 50_000}
	return p.write(make([]byte, 0, maxPacket))
}

func with(at int, value byte) []byte {
	b := good()
	b[at] = value
	return b
}

// TestParse holds the checks of RFC 5880 section 6.8.6 that need no session, one after the other.
func TestParse(t *testing.T) {
	t.Parallel()
	noYour := func(s State) []byte {
		b := with(1, byte(s)<<6)
		clear(b[8:12])
		return b
	}
	noMy := good()
	clear(noMy[4:8])
	authed := func(length, section int, more ...byte) []byte {
		b := append(with(1, byte(Up)<<6|flagAuth), more...)
		b[3] = byte(length)
		if len(b) > headSize+1 {
			b[headSize+1] = byte(section)
		}
		return b
	}
	for _, c := range []struct {
		name string
		b    []byte
		want error
	}{
		{"good", good(), nil},
		{"longer than its length", append(good(), 1, 2, 3), nil},
		{"empty", nil, errShort},
		{"short", good()[:23], errShort},
		{"version 0", with(0, 0), errVersion},
		{"version 2", with(0, 2<<5), errVersion},
		{"length below 24", with(3, 23), errLength},
		{"length over the datagram", with(3, 25), errLength},
		{"multiplier 0", with(2, 0), errMult},
		{"multipoint", with(1, byte(Up)<<6|flagMultipoint), errMultipoint},
		{"no discriminator", noMy, errMy},
		{"up without yours", noYour(Up), errYour},
		{"init without yours", noYour(Init), errYour},
		{"down without yours", noYour(Down), nil},
		{"admin down without yours", noYour(AdminDown), nil},
		{"authentication of one byte", authed(25, 0, 1), errLength},
		{"authentication", authed(28, 4, 1, 4, 7, 'x'), nil},
		{"authentication of another length", authed(28, 5, 1, 5, 7, 'x'), errLength},
	} {
		if _, err := parse(c.b); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

// FuzzParse: what parse lets through is what write makes of it, and no input does harm to a session.
func FuzzParse(f *testing.F) {
	f.Add(good())
	f.Add(with(1, byte(Down)<<6|flagPoll))
	f.Add(append(with(1, byte(Up)<<6|flagAuth), 1, 4, 7, 'x'))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parse(b)
		if err != nil {
			return
		}
		if again := p.write(make([]byte, 0, maxPacket)); !bytes.Equal(again[:3], b[:3]) || !bytes.Equal(again[4:headSize], b[4:headSize]) {
			t.Errorf("% x was read, and written as % x", b[:headSize], again)
		}
		for _, auth := range []Auth{{}, {AuthPassword, 7, "x"}, {AuthMD5, 7, "x"}, {AuthMeticulousSHA1, 7, "x"}} {
			s := sessionAt(peerWith(auth))
			for range 3 {
				_, _ = s.receive(&p, start, start)
			}
			if s.interval() < 0 || s.detection() < 0 || s.due().Before(start) {
				t.Errorf("intervals %v, %v; due %v", s.interval(), s.detection(), s.due())
			}
		}
	})
}
