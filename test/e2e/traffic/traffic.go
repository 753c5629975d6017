package traffic

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"time"
)

// Command is the subcommand of the running program that must call Serve with the arguments after it.
const Command = "traffic"

// Kinds of traffic: the first of Serve's arguments, before the target.
const (
	Ping = "ping" // ICMP echo to an address, every 10 ms
	HTTP = "http" // GET of a URL, a connection each, every 10 ms
)

// Interval between two probes.
const Interval = 10 * time.Millisecond

// How long a probe may take before it counts as lost. A packet that the network lost is sent anew by TCP
// after a second; what a load looks for is requests that fail, not a server that is short of a processor.
const (
	patience     = time.Second
	httpPatience = 5 * time.Second
)

// Tally is what became of a stream. A gap is the time between two answered probes, with lost ones in
// between; without a loss there is none. Slowest is how long the slowest answer took.
type Tally struct {
	Sent       int           `json:"sent"`
	Lost       int           `json:"lost"`
	Slowest    time.Duration `json:"slowestNs"`
	LongestGap time.Duration `json:"longestGapNs"`
	// First and Last are when the first and the last lost probe were sent, to be looked for in logs.
	First time.Time `json:"first,omitzero"`
	Last  time.Time `json:"last,omitzero"`
	// Error is what the last failed probe of an HTTP load met.
	Error string `json:"error,omitempty"`
}

func (t Tally) String() string {
	s := fmt.Sprintf("%d of %d lost, slowest %d ms", t.Lost, t.Sent, t.Slowest.Milliseconds())
	if t.Lost > 0 {
		const clock = "15:04:05.000"
		s += fmt.Sprintf(", longest gap %d ms, between %s and %s", t.LongestGap.Milliseconds(), t.First.Format(clock), t.Last.Format(clock))
	}
	return s
}

// probe is one packet or request. Zero answered: not yet, or never.
type probe struct{ sent, answered time.Time }

// count makes the tally of probes in the order in which they were sent.
func count(probes []probe) Tally {
	t := Tally{Sent: len(probes)}
	var last time.Time // of an answered probe
	missing := false   // since then
	for _, p := range probes {
		if p.answered.IsZero() {
			if t.Lost++; t.Lost == 1 {
				t.First = p.sent
			}
			t.Last, missing = p.sent, true
			continue
		}
		if missing && !last.IsZero() {
			t.LongestGap = max(t.LongestGap, p.answered.Sub(last))
		}
		last, missing = p.answered, false
		t.Slowest = max(t.Slowest, p.answered.Sub(p.sent))
	}
	if missing && !last.IsZero() {
		t.LongestGap = max(t.LongestGap, probes[len(probes)-1].sent.Sub(last))
	}
	return t
}

// words on the standard output of a stream, before its tally.
const answeredWord = "answered"

// Serve runs a stream until in ends.
func Serve(args []string, in io.Reader, out io.Writer) error {
	if len(args) != 2 {
		return errors.New("usage: traffic ping ADDRESS | traffic http URL")
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, in)
		cancel()
	}()
	answered := func() { fmt.Fprintln(out, answeredWord) }
	var tally Tally
	var err error
	switch args[0] {
	case Ping:
		tally, err = ping(ctx, args[1], answered)
	case HTTP:
		tally, err = load(ctx, args[1], answered)
	default:
		err = fmt.Errorf("unknown kind of traffic %q", args[0])
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(tally)
}

// Stream is a running stream.
type Stream struct {
	cmd    *exec.Cmd
	in     io.Closer
	out    *bufio.Reader
	stderr bytes.Buffer
}

// Start starts a command that calls Serve, and returns when its first probe is answered.
func Start(ctx context.Context, cmd *exec.Cmd) (*Stream, error) {
	s := &Stream{cmd: cmd}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = &s.stderr
	s.in, s.out = in, bufio.NewReader(out)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("traffic: %w", err)
	}
	first := make(chan error, 1)
	go func() {
		_, err := s.out.ReadString('\n')
		first <- err
	}()
	select {
	case err = <-first:
	case <-time.After(20 * time.Second):
		err = errors.New("no probe was answered within 20 s")
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		_ = cmd.Process.Kill()
		return nil, errors.Join(fmt.Errorf("traffic: %w: %s", err, &s.stderr), cmd.Wait())
	}
	return s, nil
}

// Stop ends the stream and waits for the answers that are under way.
func (s *Stream) Stop() (Tally, error) {
	var t Tally
	_ = s.in.Close()
	err := json.NewDecoder(s.out).Decode(&t)
	if wait := s.cmd.Wait(); err != nil || wait != nil {
		return t, errors.Join(fmt.Errorf("traffic: %s", &s.stderr), err, wait)
	}
	return t, nil
}
