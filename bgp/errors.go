package bgp

import (
	"errors"
	"fmt"
	"net/netip"
)

// ErrClosed is returned by Set after Restart or Leave.
var ErrClosed = errors.New("the BGP speaker has stopped")

// PeerError is what is wrong with one peer; the others are not touched by it.
type PeerError struct {
	Peer string
	Err  error
}

// Error names the peer.
func (e *PeerError) Error() string { return fmt.Sprintf("BGP peer %s: %v", e.Peer, e.Err) }

// Unwrap gives the cause.
func (e *PeerError) Unwrap() error { return e.Err }

// PathError is what is wrong with one path; the others are announced.
type PathError struct {
	Prefix netip.Prefix
	Err    error
}

// Error names the prefix.
func (e *PathError) Error() string { return fmt.Sprintf("BGP path %v: %v", e.Prefix, e.Err) }

// Unwrap gives the cause.
func (e *PathError) Unwrap() error { return e.Err }

// Reason is why a session is not up, or what ended it.
type Reason string

// Reasons.
const (
	ReasonNone                 Reason = ""
	ReasonNotificationReceived Reason = "NotificationReceived"
	ReasonNotificationSent     Reason = "NotificationSent"
	ReasonHoldTimerExpired     Reason = "HoldTimerExpired"
	ReasonClosed               Reason = "ConnectionClosed" // TCP was closed without a NOTIFICATION
	ReasonRestarting           Reason = "NeighborRestarting"
	ReasonRestartExpired       Reason = "RestartTimeExpired"
	ReasonConnect              Reason = "ConnectFailed"
	ReasonNoAnswer             Reason = "NoAnswer"
	ReasonBadAS                Reason = "BadPeerAS"
	ReasonBadMessage           Reason = "BadMessage"
	ReasonMaxPrefixes          Reason = "MaxPrefixesReached"
	ReasonLinkDown             Reason = "LinkDown"
	ReasonLost                 Reason = "BFDDown" // RFC 9384's name for it
	ReasonReconfigured         Reason = "Reconfigured"
	ReasonInvalid              Reason = "InvalidConfiguration"
)
