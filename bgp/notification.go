package bgp

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// fresh is how old what the log says of a NOTIFICATION may be to belong to the end of a session.
const fresh = 5 * time.Second

// note is a NOTIFICATION that the log has told of.
type note struct {
	at   time.Time
	text string
}

// notificationName is a NOTIFICATION by its names in the RFCs (IANA's registry "BGP Error Codes" and those of its
// subcodes); numbers where there is no name.
func notificationName(code, subcode uint8) string {
	name, subs := errorNames(code)
	switch {
	case name == "":
		return fmt.Sprintf("error code %d, subcode %d", code, subcode)
	case int(subcode) < len(subs) && subs[subcode] != "":
		return name + ", " + subs[subcode]
	case subcode != 0:
		return fmt.Sprintf("%s, subcode %d", name, subcode)
	}
	return name
}

// errorNames are the name of an error code and those of its subcodes, by number.
func errorNames(code uint8) (name string, subcodes []string) {
	switch code {
	case 1: // RFC 4271
		return "Message Header Error", []string{"", "Connection Not Synchronized", "Bad Message Length", "Bad Message Type"}
	case 2: // RFC 4271, RFC 5492, RFC 9234
		return "OPEN Message Error", []string{
			"", "Unsupported Version Number", "Bad Peer AS", "Bad BGP Identifier", "Unsupported Optional Parameter", "", "Unacceptable Hold Time",
			"Unsupported Capability", "", "", "", "Role Mismatch",
		}
	case 3: // RFC 4271
		return "UPDATE Message Error", []string{
			"", "Malformed Attribute List", "Unrecognized Well-known Attribute", "Missing Well-known Attribute", "Attribute Flags Error",
			"Attribute Length Error", "Invalid ORIGIN Attribute", "", "Invalid NEXT_HOP Attribute", "Optional Attribute Error",
			"Invalid Network Field", "Malformed AS_PATH",
		}
	case 4: // RFC 4271
		return "Hold Timer Expired", nil
	case 5: // RFC 4271, RFC 6608
		return "Finite State Machine Error", []string{
			"", "Receive Unexpected Message in OpenSent State", "Receive Unexpected Message in OpenConfirm State",
			"Receive Unexpected Message in Established State",
		}
	case 6: // RFC 4486, RFC 8538, RFC 9384
		return "Cease", []string{
			"", "Maximum Number of Prefixes Reached", "Administrative Shutdown", "Peer De-configured", "Administrative Reset", "Connection Rejected",
			"Other Configuration Change", "Connection Collision Resolution", "Out of Resources", "Hard Reset", "BFD Down",
		}
	case 7: // RFC 7313
		return "ROUTE-REFRESH Message Error", []string{"", "Invalid Message Length"}
	case 8: // RFC 9687
		return "Send Hold Timer Expired", nil
	}
	return "", nil
}

// notificationText is a NOTIFICATION with what its data say: the message of an administrator (RFC 9003), or what a Hard
// Reset is for (RFC 8538 section 3).
func notificationText(code, subcode uint8, communication string, data []byte) string {
	text := notificationName(code, subcode)
	if code == gobgp.BGP_ERROR_CEASE && subcode == gobgp.BGP_ERROR_SUB_HARD_RESET && len(data) >= 2 && data[1] != subcode {
		why := ""
		if inner := data[2:]; len(inner) > 0 && len(inner) > int(inner[0]) {
			why = string(inner[1 : 1+int(inner[0])])
		}
		return text + ": " + notificationText(data[0], data[1], why, nil)
	}
	if communication = strings.ToValidUTF8(communication, "?"); communication != "" {
		text += fmt.Sprintf(": %q", communication)
	}
	return text
}

// heardOf is the NOTIFICATION that a message of the log is about; false where it is about none.
func heardOf(message string, attrs map[string]slog.Value) (why Reason, text string, ok bool) {
	switch message {
	case "sent notification":
		why, text = ReasonNotificationSent, "we sent NOTIFICATION: "
	case "received notification":
		why, text = ReasonNotificationReceived, "the neighbour sent NOTIFICATION: "
	default:
		return ReasonNone, "", false
	}
	if attrs["Code"].Kind() != slog.KindInt64 || attrs["Subcode"].Kind() != slog.KindInt64 {
		return why, text + "unknown", true
	}
	data, _ := attrs["Data"].Any().([]byte)
	communication := ""
	if v := attrs["Communicated-Reason"]; v.Kind() == slog.KindString {
		communication = v.String()
	}
	return why, text + notificationText(uint8(attrs["Code"].Int64()), uint8(attrs["Subcode"].Int64()), communication, data), true
}

// named is the text of a session's end: that of the NOTIFICATION that ended it, where the log has told of it.
func (x *session) named(why Reason, text string) (Reason, string) {
	if (why == ReasonNotificationReceived || why == ReasonNotificationSent) && time.Since(x.note.at) < fresh {
		text = x.note.text
	}
	return why, text
}
