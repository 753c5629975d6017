package routes

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// kernelAt plays the kernel at the other end of a conn: for every request it sends what answer makes.
func kernelAt(t *testing.T, answer func(try int, seq uint32) [][]byte) *conn {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	c := &conn{fd: fds[0], in: make([]byte, receiveSize), batch: batchMost}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, receiveSize)
		for try := 0; ; try++ {
			n, _, err := unix.Recvfrom(fds[1], b, 0)
			if err != nil || n == 0 {
				return
			}
			var last header
			for h := range messages(b[:n]) {
				last = h
			}
			for _, d := range answer(try, last.seq) {
				if err := unix.Send(fds[1], d, 0); err != nil {
					return
				}
			}
		}
	}()
	t.Cleanup(func() {
		if err := errors.Join(unix.Shutdown(fds[1], unix.SHUT_RDWR), c.close(), unix.Close(fds[1])); err != nil {
			t.Error(err)
		}
		<-done
	})
	return c
}

// datagram holds messages; each is its type, flags, sequence number and body.
func datagram(each ...func(w *writer)) []byte {
	var w writer
	for _, f := range each {
		f(&w)
	}
	return w.buf
}

func message(typ, flags uint16, seq uint32, body ...byte) func(w *writer) {
	return func(w *writer) {
		w.seq = seq
		w.begin(typ, flags)
		w.raw(body...)
		w.end()
	}
}

func code(errno unix.Errno) []byte { return native.AppendUint32(nil, uint32(-int32(errno))) }

// TestInterruptedDump: a dump that was interrupted counts for nothing, is tried again, and in the end
// is an error.
func TestInterruptedDump(t *testing.T) {
	t.Parallel()
	entry := func(seq uint32, flags uint16, v byte) func(w *writer) {
		return message(unix.RTM_NEWROUTE, unix.NLM_F_MULTI|flags, seq, v, 0, 0, 0)
	}
	const interrupted = unix.NLM_F_DUMP_INTR
	for name, x := range map[string]struct {
		answer func(try int, seq uint32) [][]byte
		want   []byte
		err    error
	}{
		"whole": {func(_ int, seq uint32) [][]byte {
			return [][]byte{datagram(entry(seq, 0, 1), entry(seq, 0, 2)), datagram(entry(seq, 0, 3)), datagram(message(unix.NLMSG_DONE, 0, seq, code(0)...))}
		}, []byte{1, 2, 3}, nil},
		"interrupted twice": {func(try int, seq uint32) [][]byte {
			if try == 0 { // in the middle
				return [][]byte{datagram(entry(seq, 0, 7), entry(seq, interrupted, 8)), datagram(message(unix.NLMSG_DONE, 0, seq, code(0)...))}
			}
			if try == 1 { // at the end
				return [][]byte{datagram(entry(seq, 0, 9)), datagram(message(unix.NLMSG_DONE, interrupted, seq, code(0)...))}
			}
			return [][]byte{datagram(entry(seq, 0, 1), message(unix.NLMSG_DONE, 0, seq, code(0)...))}
		}, []byte{1}, nil},
		"interrupted always": {func(_ int, seq uint32) [][]byte {
			return [][]byte{datagram(entry(seq, interrupted, 1), message(unix.NLMSG_DONE, 0, seq, code(0)...))}
		}, nil, errInterrupted},
		"old answers in front": {func(_ int, seq uint32) [][]byte {
			return [][]byte{datagram(entry(seq-1, interrupted, 9), message(unix.NLMSG_DONE, 0, seq-1, code(0)...), entry(seq, 0, 1), message(unix.NLMSG_DONE, 0, seq, code(0)...))}
		}, []byte{1}, nil},
		"error": {func(_ int, seq uint32) [][]byte {
			return [][]byte{datagram(message(unix.NLMSG_ERROR, 0, seq, append(code(unix.EPERM), make([]byte, 16)...)...))}
		}, nil, unix.EPERM},
		"error at the end": {func(_ int, seq uint32) [][]byte {
			return [][]byte{datagram(entry(seq, 0, 1), message(unix.NLMSG_DONE, 0, seq, code(unix.EMSGSIZE)...))}
		}, nil, unix.EMSGSIZE},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := kernelAt(t, x.answer)
			var got []byte
			err := c.dump(t.Context(), getObjects, func() { got = nil }, func(_ uint16, body []byte) { got = append(got, body[0]) })
			if !errors.Is(err, x.err) || (err == nil) != (x.err == nil) {
				t.Errorf("error %v, want %v", err, x.err)
			}
			if err == nil && !slices.Equal(got, x.want) {
				t.Errorf("entries %v, want %v", got, x.want)
			}
		})
	}
}

// TestBatches sends more than fits in one batch, and has errors for some, in several datagrams.
func TestBatches(t *testing.T) {
	t.Parallel()
	const n = 1000
	var sends atomic.Int32
	c := kernelAt(t, func(_ int, seq uint32) [][]byte {
		sends.Add(1)
		first := seq - seq%batchMost // sequence numbers of a batch: 1–256, 257–512, …
		if seq%batchMost == 0 {
			first = seq - batchMost
		}
		var out [][]byte
		for s := first + 1; s <= seq; s++ {
			if s%100 == 0 {
				out = append(out, datagram(message(unix.NLMSG_ERROR, 0, s, append(code(unix.ENETDOWN), make([]byte, 16)...)...)))
			}
		}
		if seq%100 != 0 {
			out = append(out, datagram(message(unix.NLMSG_ERROR, 0, seq, append(code(0), make([]byte, 16)...)...)))
		}
		return out
	})
	var refused []int
	err := c.do(context.Background(), n, func(w *writer, i int) {
		deleteObject(w, uint32(i))
	}, func(i int, err error) {
		if !errors.Is(err, unix.ENETDOWN) {
			t.Error(err)
		}
		refused = append(refused, i)
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []int{99, 199, 299, 399, 499, 599, 699, 799, 899, 999}; !slices.Equal(refused, want) {
		t.Errorf("refused %v, want %v", refused, want)
	}
	if n := sends.Load(); n != 4 {
		t.Errorf("%d sends", n)
	}
}

// TestPlainUser runs TestSet as a user who has rights in a user namespace only: no large buffers.
func TestPlainUser(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), self, "-test.run=^(TestSet|TestErrorsAreMatched)$", "-test.count=1")
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// FuzzMessages feeds the parsers with anything.
func FuzzMessages(f *testing.F) {
	g := &group{id: idBase + 1, set: &set{src: netip.MustParseAddr("10.0.0.1")}}
	multi := &group{set: &set{members: []member{{hopKey{addr("10.0.0.1"), 1, unix.AF_INET, false}, 1}, {hopKey{addr("fe80::1"), 2, unix.AF_INET6, false}, 2}}}}
	h := &hop{idBase + 1, hopKey{addr("fe80::1"), 2, unix.AF_INET6, false}}
	f.Add(datagram(func(w *writer) { addRoute(w, 0, netip.MustParsePrefix("10.0.0.0/24"), g) }, func(w *writer) { addRoute(w, 0, netip.MustParsePrefix("10.0.0.0/24"), multi) }))
	f.Add(datagram(func(w *writer) { addHop(w, h) }, func(w *writer) {
		putGroup(w, &change{group: &group{id: 7}, set: &set{hashing: Hashing{Buckets: 8}}, live: []share{{h, 1}, {h, 256}}})
	}))
	f.Add(datagram(message(unix.RTM_NEWLINK, 0, 0, make([]byte, 40)...), message(unix.RTM_NEWADDR, 0, 0, make([]byte, 40)...)))
	f.Fuzz(func(_ *testing.T, b []byte) {
		for h, body := range messages(b) {
			_ = answer(h, body)
			parseRoute(body, true)
			parseObject(body)
			parseLink(body)
			parseAddr(body)
			if len(body) >= unix.SizeofRtMsg {
				deleteFound(&writer{}, body)
			}
		}
	})
}
