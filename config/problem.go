package config

import "fmt"

// Problem is what is wrong with one object, and how to mend it.
type Problem struct {
	// Source is where the object stands, "peers.yaml, document 2"; empty for objects of the API.
	Source string `json:"source,omitempty"`
	// Object is "Kind/name", as far as they are known.
	Object string `json:"object,omitempty"`
	// Field is the path of the field, "spec.asNumber".
	Field string `json:"field,omitempty"`
	// Message says what is wrong.
	Message string `json:"message"`
	// Mend says what to do about it.
	Mend string `json:"mend,omitempty"`
}

// Error reads "peers.yaml, document 2: BGPPeer/tor: spec.asNumber: out of range: use 1 to 4294967294".
func (p Problem) Error() string {
	s := p.Message
	for _, part := range []string{p.Field, p.Object, p.Source} {
		if part != "" {
			s = part + ": " + s
		}
	}
	if p.Mend != "" {
		s = fmt.Sprintf("%s: %s", s, p.Mend)
	}
	return s
}
