package client

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// This file speaks ttrpc's unary call (github.com/containerd/ttrpc, PROTOCOL.md) and the few protobuf
// fields in it by hand, over blocking system calls: the libraries' initialisation, a netpoller and two
// threads more would be a third of the plugin's running time. The test runs it against the libraries.

// Frame header: length, stream, type, flags.
const (
	headerSize    = 10
	typeRequest   = 1
	typeResponse  = 2
	maxMessage    = 4 << 20 // ttrpc's own limit
	callStream    = 1       // clients' streams are odd
	service       = "podroute.cni.v1.CNI"
	wireVarint    = 0
	wireFixed64   = 1
	wireDelimited = 2
	wireFixed32   = 5
)

// request is cnipb.Request.
type request struct {
	containerID, netns, ifName, args string
	config                           []byte
}

// response is cnipb.Response.
type response struct {
	result []byte
	err    *failure
}

func appendField[T string | []byte](b []byte, number int, v T) []byte {
	if len(v) == 0 {
		return b
	}
	b = append(b, byte(number<<3|wireDelimited))
	b = binary.AppendUvarint(b, uint64(len(v)))
	return append(b, v...)
}

func (r request) marshal() []byte {
	var b []byte
	b = appendField(b, 1, r.containerID)
	b = appendField(b, 2, r.netns)
	b = appendField(b, 3, r.ifName)
	b = appendField(b, 4, r.args)
	return appendField(b, 5, r.config)
}

// errMalformed says that the agent's answer cannot be read.
var errMalformed = errors.New("malformed answer")

// fields calls each with the fields of a message that are delimited, with their value, and those that
// are varints, with nil and the bare number.
func fields(b []byte, each func(number int, value []byte, bare uint64) error) error {
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		if n <= 0 {
			return errMalformed
		}
		b = b[n:]
		var value []byte
		var bare uint64
		skip := 0
		switch tag & 7 {
		case wireVarint:
			if bare, skip = binary.Uvarint(b); skip <= 0 {
				return errMalformed
			}
		case wireFixed64:
			skip = 8
		case wireFixed32:
			skip = 4
		case wireDelimited:
			size, n := binary.Uvarint(b)
			if n <= 0 || size > uint64(len(b)-n) {
				return errMalformed
			}
			skip = n + int(size)
			value = b[n:skip]
		default:
			return errMalformed
		}
		if skip > len(b) {
			return errMalformed
		}
		b = b[skip:]
		if wire := tag & 7; wire != wireDelimited && wire != wireVarint {
			continue
		}
		if err := each(int(tag>>3), value, bare); err != nil {
			return err
		}
	}
	return nil
}

func unmarshalResponse(b []byte) (r response, err error) {
	err = fields(b, func(number int, value []byte, _ uint64) error {
		switch {
		case value == nil:
		case number == 1:
			r.result = value
		case number == 2:
			r.err = &failure{}
			return fields(value, func(number int, value []byte, bare uint64) error {
				switch number {
				case 1:
					r.err.Code = uint32(bare)
				case 2:
					r.err.Msg = string(value)
				case 3:
					r.err.Details = string(value)
				}
				return nil
			})
		}
		return nil
	})
	return r, err
}

// call has the agent at the socket do one method. Any error means that there is no agent to ask.
func call(socket, method string, r request, timeout time.Duration) (response, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return response{}, os.NewSyscallError("socket", err)
	}
	defer func() { _ = unix.Close(fd) }()
	for option, limit := range map[int]time.Duration{unix.SO_SNDTIMEO: dialTimeout, unix.SO_RCVTIMEO: timeout} {
		tv := unix.NsecToTimeval(int64(limit))
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, option, &tv); err != nil {
			return response{}, os.NewSyscallError("setsockopt", err)
		}
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: socket}); err != nil {
		return response{}, fmt.Errorf("connect to %s: %w", socket, err)
	}
	if err := send(fd, requestFrame(method, r, timeout)); err != nil {
		return response{}, fmt.Errorf("ask %s: %w", socket, err)
	}
	payload, err := receive(fd)
	if err != nil {
		return response{}, fmt.Errorf("answer of %s: %w", socket, err)
	}
	return unmarshalResponse(payload)
}

// requestFrame is ttrpc.Request in its frame.
func requestFrame(method string, r request, timeout time.Duration) []byte {
	b := make([]byte, headerSize)
	b = appendField(b, 1, service)
	b = appendField(b, 2, method)
	b = appendField(b, 3, r.marshal())
	b = append(b, 4<<3|wireVarint)
	b = binary.AppendUvarint(b, uint64(timeout.Nanoseconds()))
	binary.BigEndian.PutUint32(b, uint32(len(b)-headerSize))
	binary.BigEndian.PutUint32(b[4:], callStream)
	b[8] = typeRequest
	return b
}

func send(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.SendmsgN(fd, b, nil, nil, unix.MSG_NOSIGNAL)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// receive reads one frame, and returns the payload of the ttrpc.Response in it.
func receive(fd int) ([]byte, error) {
	header := make([]byte, headerSize)
	if err := readFull(fd, header); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(header)
	if size > maxMessage || header[8] != typeResponse {
		return nil, errMalformed
	}
	b := make([]byte, size)
	if err := readFull(fd, b); err != nil {
		return nil, err
	}
	var payload []byte
	err := fields(b, func(number int, value []byte, _ uint64) error {
		switch number {
		case 1: // google.rpc.Status, of a call that failed
			return status(value)
		case 2:
			payload = value
		}
		return nil
	})
	return payload, err
}

// status turns a google.rpc.Status into an error; code 0 is none.
func status(b []byte) error {
	var code uint64
	var msg string
	err := fields(b, func(number int, value []byte, bare uint64) error {
		switch number {
		case 1:
			code = bare
		case 2:
			msg = string(value)
		}
		return nil
	})
	if err != nil || code == 0 {
		return err
	}
	return fmt.Errorf("code %d: %s", code, msg)
}

func readFull(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.Read(fd, b)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return os.ErrDeadlineExceeded
		case err != nil:
			return err
		case n == 0:
			return errors.New("the connection ended early")
		}
		b = b[n:]
	}
	return nil
}
