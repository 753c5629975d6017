package apiserver

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
)

// Root is the repository's folder.
func (s *Server) Root() string { return s.root }

// Address is the API server's, HOST:PORT.
func (s *Server) Address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// Patch merges a JSON text into the object at a path of the API, as admin: what is too often for a kubectl each time. It
// ends the test if it fails.
func (s *Server) Patch(path, text string) {
	s.t.Helper()
	if _, err := s.Send(http.MethodPatch, path, text); err != nil {
		s.t.Fatal(err)
	}
}

// Send makes a request as admin and returns the answer. It may be called from any goroutine.
func (s *Server) Send(method, path, text string) ([]byte, error) {
	s.once.Do(func() {
		s.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // its own, of this moment
	})
	r, err := http.NewRequestWithContext(s.t.Context(), method, "https://"+s.Address()+path, strings.NewReader(text))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	if method == http.MethodPatch {
		r.Header.Set("Content-Type", "application/strategic-merge-patch+json")
	}
	answer, err := s.client.Do(r)
	if err != nil {
		return nil, err
	}
	said, err := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	if err == nil && answer.StatusCode >= http.StatusBadRequest {
		err = fmt.Errorf("%s %s: %s: %s", method, path, answer.Status, said)
	}
	return said, err
}
