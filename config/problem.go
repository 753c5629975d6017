package config

import (
	"errors"
	"fmt"
	"strings"
)

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
	// Kept: the last good version of the object (of the file, where no object is named) stays in force.
	Kept bool `json:"kept,omitempty"`
	// Fatal: an agent that starts must refuse to run with this; where the object is a Node, only the
	// agent of that node.
	Fatal bool `json:"fatal,omitempty"`
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
	if p.Kept {
		s += " (the last good version stays in force)"
	}
	return s
}

// Fatal joins the problems that the agent of a node must not start with; nil if there are none.
func (s Snapshot) Fatal(node string) error {
	var errs []error
	for _, p := range s.Problems {
		ofNode, isNode := strings.CutPrefix(p.Object, "Node/")
		if p.Fatal && (!isNode || ofNode == node) {
			errs = append(errs, p)
		}
	}
	return errors.Join(errs...)
}

// report collects the problems of one object.
type report struct {
	source, object string
	problems       []Problem
}

func (r *report) add(field, message, mend string) {
	r.problems = append(r.problems, Problem{
		Source: r.source, Object: r.object, Field: field, Message: message, Mend: mend,
	})
}

// addf is add with the message formatted.
func (r *report) addf(field, mend, format string, args ...any) {
	r.add(field, fmt.Sprintf(format, args...), mend)
}

func (r *report) fatal() {
	for i := range r.problems {
		r.problems[i].Fatal = true
	}
}
