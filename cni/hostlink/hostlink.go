package hostlink

import (
	"crypto/sha256"
	"encoding/hex"
	"net"
)

// maxID is the longest container ID that is kept as it is, in bytes: containerd's and CRI-O's have 64.
const maxID = 64

// prefix of every host link's name.
const prefix = "pr"

// Link is what an attachment's veth pair is called and addressed by.
type Link struct {
	Name   string           // of the host side: "pr" and 12 hexadecimal digits
	MAC    net.HardwareAddr // of the host side
	PodMAC net.HardwareAddr // of the pod's side
}

// For derives the link of an attachment from its container ID and interface name.
func For(containerID, ifName string) Link {
	sum := sha256.Sum256([]byte(ID(containerID) + "\x00" + ifName))
	mac := func(b []byte) net.HardwareAddr {
		m := append(net.HardwareAddr(nil), b...)
		m[0] = m[0]&^1 | 2 // unicast, locally administered
		return m
	}
	return Link{Name: prefix + hex.EncodeToString(sum[:6]), MAC: mac(sum[6:12]), PodMAC: mac(sum[12:18])}
}

// ID shortens a container ID to at most 64 bytes, keeping it unique; most it leaves as they are.
func ID(containerID string) string { return shorten(containerID, maxID, 16) }

// Network shortens a network's name to at most 36 bytes, likewise.
func Network(name string) string { return shorten(name, 36, 8) }

// shorten replaces what does not fit by a hash of size bytes.
func shorten(s string, limit, size int) string {
	if len(s) <= limit {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	digest := hex.EncodeToString(sum[:size])
	return s[:limit-1-len(digest)] + "~" + digest
}

// Is tells whether a link's name has the form of ours.
func Is(name string) bool {
	if len(name) != len(prefix)+12 || name[:len(prefix)] != prefix {
		return false
	}
	for _, c := range name[len(prefix):] {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
