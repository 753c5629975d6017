package ndp

import "testing"

// FuzzRank: only what came from the link itself, and says so in full, makes its sender a router.
func FuzzRank(f *testing.F) {
	mac := []byte{2, 0, 0, 0, 0, 1}
	f.Add(advertisement(mac), hopLimit, uint16(7))
	f.Add(solicitation(mac), hopLimit, uint16(7))
	f.Add(echo(7), 64, uint16(7))
	f.Fuzz(func(t *testing.T, msg []byte, hops int, id uint16) {
		if got := rank(msg, hops, id); got < 0 || got > 2 || got == 2 && (hops != hopLimit || len(msg) < 16 || msg[0] != routerAdvertisement || msg[1] != 0) {
			t.Errorf("% x of hop limit %d has rank %d", msg, hops, got)
		}
	})
}
