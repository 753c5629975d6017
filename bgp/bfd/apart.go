package bfd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// news is what the process of Serve tells.
type news struct {
	States []Status
	// Slow is why it has no priority.
	Slow string `json:",omitempty"`
}

// Serve is the other half of Options.Apart: it keeps the sessions of the Configs that it reads from in, and writes how
// they are to out. It ends, silently, when in does. The whole process is put before others.
func Serve(ctx context.Context, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := New(Options{})
	enc := json.NewEncoder(out)
	if err := hurry(); err != nil {
		if err := enc.Encode(news{Slow: err.Error()}); err != nil {
			return fmt.Errorf("tell: %w", err)
		}
	}
	run, read := make(chan error, 1), make(chan error, 1)
	go func() { run <- s.Run(ctx) }()
	go func() { read <- follow(ctx, s, in) }()
	for {
		select {
		case err := <-run:
			return err
		case err := <-read:
			return err
		case <-s.Changed():
			if err := enc.Encode(news{States: s.States()}); err != nil {
				return fmt.Errorf("tell: %w", err)
			}
		}
	}
}

// follow sets each Config that it reads.
func follow(ctx context.Context, s *System, in io.Reader) error {
	dec := json.NewDecoder(in)
	for {
		var c Config
		if err := dec.Decode(&c); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return fmt.Errorf("read what is wanted: %w", err)
		}
		_ = s.Set(ctx, c) // it was checked by who wrote it
	}
}

// again is how long a process that has ended is missed before another is started.
const again = time.Second

// runApart keeps a process with the sessions, from when the first is wanted.
func (s *System) runApart(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.nudge:
		}
		if peers := s.peers(); len(peers) == 0 || !anyOn(peers) {
			continue
		}
		err := s.child(ctx)
		if ctx.Err() != nil {
			return nil
		}
		s.log.Error("the BFD process has ended, and is started again", "err", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(again):
		}
		s.wake()
	}
}

func anyOn(peers []Peer) bool {
	for _, p := range peers {
		if !p.Off {
			return true
		}
	}
	return false
}

// child runs one process until it or ctx ends.
func (s *System) child(ctx context.Context) error {
	c := exec.CommandContext(ctx, s.apart[0], s.apart[1:]...) //nolint:gosec // this program itself
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	if err != nil {
		return fmt.Errorf("start the BFD process: %w", err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		return fmt.Errorf("start the BFD process: %w", err)
	}
	if err := c.Start(); err != nil {
		return fmt.Errorf("start the BFD process: %w", err)
	}
	heard := make(chan error, 1)
	go func() { heard <- s.hear(out) }()
	err = s.dictate(ctx, in, heard)
	_ = in.Close() // then it ends by itself
	if e := c.Wait(); err == nil {
		err = e
	}
	return err
}

// dictate hands every Set to the process, until that is heard no more.
func (s *System) dictate(ctx context.Context, in io.Writer, heard <-chan error) error {
	enc := json.NewEncoder(in)
	for {
		if err := enc.Encode(Config{Peers: s.peers()}); err != nil {
			return fmt.Errorf("tell the BFD process: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case err := <-heard:
			return err
		case <-s.nudge:
		}
	}
}

func (s *System) hear(out io.Reader) error {
	dec := json.NewDecoder(out)
	for {
		var n news
		if err := dec.Decode(&n); err != nil {
			return fmt.Errorf("hear from the BFD process: %w", err)
		}
		if n.Slow != "" {
			s.log.Warn("BFD has no priority over other programs: give the agent CAP_SYS_NICE, or allow for late packets by longer intervals", "err", n.Slow)
			continue
		}
		s.publish(n.States)
	}
}
