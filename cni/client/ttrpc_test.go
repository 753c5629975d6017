package client

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/containerd/ttrpc"
	"google.golang.org/protobuf/proto"

	"github.com/podroute/podroute/cni/cnipb"
)

// answering is a socket whose server reads the request, and answers with these bytes.
func answering(t *testing.T, answer []byte, hold bool) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer func() { _ = c.Close() }()
		_, _ = c.Read(make([]byte, 1<<16)) // all of it: closing with more unread would reset the connection
		_, _ = c.Write(answer)
		if hold {
			_, _ = c.Read(make([]byte, 1)) // until the caller goes
		}
	}()
	return path
}

func TestAnswersThatAreNone(t *testing.T) {
	t.Parallel()
	frame := func(size uint32, typ byte, body string) []byte {
		b := append(binary.BigEndian.AppendUint32(nil, size), 0, 0, 0, 1, typ, 0)
		return append(b, body...)
	}
	for _, tt := range []struct {
		name   string
		answer []byte
		hold   bool
		want   string
	}{
		{"nothing, ever", nil, true, os.ErrDeadlineExceeded.Error()},
		{"half a header", []byte{0, 0}, true, os.ErrDeadlineExceeded.Error()},
		{"the end", nil, false, "ended early"},
		{"half a body", frame(100, typeResponse, "half"), false, "ended early"},
		{"a body too long", frame(maxMessage+1, typeResponse, ""), true, "malformed"},
		{"a frame of another type", frame(0, 9, ""), true, "malformed"},
		{"a field that overruns", frame(3, typeResponse, "\x12\x7fx"), true, "malformed"},
		{"a field without value", frame(1, typeResponse, "\x12"), true, "malformed"},
		{"a failed call", frame(8, typeResponse, "\x0a\x06\x08\x05\x12\x02no"), true, "code 5: no"},
		{"an answer that is malformed", frame(4, typeResponse, "\x12\x02\x0a\x7f"), true, "malformed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := call(answering(t, tt.answer, tt.hold), "Add", request{}, 100*time.Millisecond)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

// A server that does not know us is no agent.
func TestUnknownService(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ttrpc.NewServer()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(context.Background(), l) }()
	if _, err := call(path, "Add", request{}, time.Second); err == nil || !strings.Contains(err.Error(), "code 12") {
		t.Errorf("%v, want ttrpc's code 12, unimplemented", err)
	}
	_ = s.Close()
	if err := <-done; !errors.Is(err, ttrpc.ErrServerClosed) {
		t.Error(err)
	}
}

// Whatever the library can read, we read alike; what it cannot, does no harm.
func FuzzResponse(f *testing.F) {
	for _, r := range []*cnipb.Response{
		{Result: []byte("{}")},
		{Error: &cnipb.Error{Code: 11, Msg: "later", Details: "more"}},
	} {
		b, err := proto.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := unmarshalResponse(b)
		var want cnipb.Response
		if proto.Unmarshal(b, &want) != nil || err != nil {
			return
		}
		if want.GetError() != nil != (got.err != nil) || string(got.result) != string(want.GetResult()) {
			t.Fatalf("%q is read as %+v, the library reads %v", b, got, &want)
		}
	})
}

func FuzzRequest(f *testing.F) {
	f.Add("id", "/ns", "eth0", "A=B", []byte("{}"))
	f.Fuzz(func(t *testing.T, id, netns, ifName, args string, config []byte) {
		var got cnipb.Request
		r := request{id, netns, ifName, args, config}
		if err := (proto.UnmarshalOptions{}).Unmarshal(r.marshal(), &got); err != nil {
			for _, s := range []string{id, netns, ifName, args} {
				if !utf8.ValidString(s) {
					return // protobuf's strings are UTF-8
				}
			}
			t.Fatal(err)
		}
		if got.GetContainerId() != id || got.GetNetns() != netns || got.GetIfName() != ifName || got.GetArgs() != args || string(got.GetConfig()) != string(config) {
			t.Fatalf("%+v is read as %v", r, &got)
		}
	})
}
