package bfd

import (
	"crypto/hmac"
	"crypto/md5"  //nolint:gosec // the RFC's choice
	"crypto/sha1" //nolint:gosec // the RFC's choice
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// AuthType is a method of authentication (RFC 5880 section 4.1).
type AuthType uint8

// Methods.
const (
	AuthNone AuthType = iota
	AuthPassword
	AuthMD5
	AuthMeticulousMD5
	AuthSHA1
	AuthMeticulousSHA1
)

// Auth is how packets are authenticated (RFC 5880 section 6.7). The meticulous methods count every packet and
// so bar replay; the others do only against packets that are three detection times old.
type Auth struct {
	Type  AuthType
	KeyID uint8
	// Key has 1 to 16 bytes, with SHA1 up to 20.
	Key string
}

// String does not show the key.
func (a Auth) String() string { return fmt.Sprintf("type %d, key %d", a.Type, a.KeyID) }

func (a Auth) size() int {
	switch a.Type {
	case AuthMD5, AuthMeticulousMD5:
		return md5.Size
	case AuthSHA1, AuthMeticulousSHA1:
		return sha1.Size
	}
	return 0
}

func (a Auth) meticulous() bool { return a.Type == AuthMeticulousMD5 || a.Type == AuthMeticulousSHA1 }

func (a Auth) check() error {
	most := max(a.size(), 16)
	switch {
	case a.Type == AuthNone:
		return nil
	case a.Type > AuthMeticulousSHA1:
		return fmt.Errorf("there is no authentication of type %d", a.Type)
	case a.Key == "" || len(a.Key) > most:
		return fmt.Errorf("the key has %d bytes, not 1 to %d", len(a.Key), most)
	}
	return nil
}

var (
	errAuthType   = errors.New("its authentication is of another type")
	errAuthKeyID  = errors.New("its authentication key ID is not ours")
	errAuthLength = errors.New("its authentication section has a wrong length")
	errAuthKey    = errors.New("its authentication does not match our key")
	errAuthSeq    = errors.New("its authentication sequence number is out of range: an old packet is replayed")
)

// authState are the sequence numbers of a session.
type authState struct {
	sent     uint32
	received uint32
	known    time.Time // when received was, zero: never
}

func newAuthState(random func() float64) authState {
	return authState{sent: uint32(random() * (1 << 32))}
}

// The section of keyed methods: type, length, key ID, reserved, sequence number, digest.
const authHead = 8

// sign writes a packet with its authentication section.
func (s *authState) sign(a Auth, p *packet, b []byte, _ time.Time) []byte {
	if a.Type == AuthNone {
		return p.write(b)
	}
	p.flags |= flagAuth
	b = p.write(b)
	if a.Type == AuthPassword {
		b = append(b, byte(a.Type), byte(3+len(a.Key)), a.KeyID)
		b = append(b, a.Key...)
		b[3] = byte(len(b))
		return b
	}
	s.sent++ // which the other methods may do, and the meticulous must
	b = append(b, byte(a.Type), byte(authHead+a.size()), a.KeyID, 0)
	b = binary.BigEndian.AppendUint32(b, s.sent)
	b = append(b, make([]byte, a.size())...)
	b[3] = byte(len(b))
	copy(b[headSize+authHead:], a.digest(b))
	return b
}

// digest is that of a packet, whose own place for it is taken for the key.
func (a Auth) digest(b []byte) []byte {
	at := headSize + authHead
	n := copy(b[at:], a.Key)
	clear(b[at+n : at+a.size()])
	if a.size() == md5.Size {
		sum := md5.Sum(b) //nolint:gosec // the RFC's choice
		return sum[:]
	}
	sum := sha1.Sum(b) //nolint:gosec // the RFC's choice
	return sum[:]
}

// accept checks the authentication of a received packet (RFC 5880 sections 6.7.2 to 6.7.4). detection bounds how
// long a sequence number is remembered.
func (s *authState) accept(a Auth, p *packet, at time.Time, detection time.Duration) error {
	switch {
	case AuthType(p.auth[0]) != a.Type:
		return errAuthType
	case len(p.auth) < 4:
		return errAuthLength
	case p.auth[2] != a.KeyID:
		return errAuthKeyID
	case a.Type == AuthPassword:
		if !hmac.Equal(p.auth[3:], []byte(a.Key)) {
			return errAuthKey
		}
		return nil
	case len(p.auth) != authHead+a.size():
		return errAuthLength
	}
	seq := binary.BigEndian.Uint32(p.auth[4:])
	if !s.known.IsZero() && at.Sub(s.known) < 2*max(detection, slow) {
		least := uint32(0)
		if a.meticulous() {
			least = 1
		}
		if ahead := seq - s.received; ahead < least || ahead > uint32(3*max(int(p.mult), 1)) {
			return errAuthSeq
		}
	}
	whole := make([]byte, headSize+len(p.auth))
	p.write(whole)
	whole[3] = byte(len(whole))
	copy(whole[headSize:], p.auth)
	if !hmac.Equal(a.digest(whole), p.auth[authHead:]) {
		return errAuthKey
	}
	s.received, s.known = seq, at
	return nil
}
