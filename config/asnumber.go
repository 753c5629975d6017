package config

import (
	"encoding/json"
	"errors"
	"strconv"
)

// ASNumber is a neighbour's AS: a number, "external" (any but ours) or "internal" (ours). It reads
// YAML numbers and strings alike.
//
// +kubebuilder:validation:XIntOrString
// +kubebuilder:validation:Type=""
// +kubebuilder:validation:XValidation:rule="type(self) == int ? (self >= 1 && self <= 4294967294 && self != 23456 && self != 65535) : (self in ['internal', 'external'] || (string(self).matches('^[0-9]{1,10}$') && int(string(self)) >= 1 && int(string(self)) <= 4294967294 && !(string(self) in ['23456', '65535'])))",message="must be 1 to 4294967294 and not reserved, internal or external"
type ASNumber string

// AS numbers by relation.
const (
	ASInternal ASNumber = "internal"
	ASExternal ASNumber = "external"
)

// UnmarshalJSON reads a number or a string, and leaves the judgement to validation.
func (a *ASNumber) UnmarshalJSON(b []byte) error {
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	switch v := v.(type) {
	case nil:
		*a = ""
	case string:
		*a = ASNumber(v)
	case float64:
		*a = ASNumber(b) // the number's own text: a float64 would round it
	default:
		return errors.New(`wants a number, "internal" or "external"`)
	}
	return nil
}

// MarshalJSON writes a number where it is one.
func (a ASNumber) MarshalJSON() ([]byte, error) {
	if n, ok := a.Number(); ok {
		return strconv.AppendUint(nil, uint64(n), 10), nil
	}
	return json.Marshal(string(a))
}

// Number returns the AS number (RFC 6793: four bytes), and false for "internal" and "external".
// The form with a dot (RFC 5396) is not read: YAML takes 1.10 for 1.1.
func (a ASNumber) Number() (uint32, bool) {
	n, err := strconv.ParseUint(string(a), 10, 32)
	return uint32(n), err == nil
}

// Resolve returns the neighbour's AS number as seen by a node whose own is own; 0 for "external",
// which stands for any number.
func (a ASNumber) Resolve(own uint32) uint32 {
	if a == ASInternal {
		return own
	}
	n, _ := a.Number()
	return n
}

// reservedAS says why a number is no AS of a speaker, empty if it may be.
func reservedAS(n uint32) string {
	switch n {
	case 0:
		return "AS 0 is reserved (RFC 7607)"
	case 23456:
		return "AS 23456 is reserved (AS_TRANS, RFC 6793)"
	case 65535:
		return "AS 65535 is reserved (RFC 7300)"
	case 4294967295:
		return "AS 4294967295 is reserved (RFC 7300)"
	}
	return ""
}
