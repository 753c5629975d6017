package routers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/podroute/podroute/internal/nstest"
)

// base is what the daemons have in common.
type base struct {
	ns  *nstest.NS
	dir string
	log *output
}

func (b base) path(name string) string { return filepath.Join(b.dir, name) }

func (b base) file(name, text string) error {
	// Readable for the user frr; nothing in it is secret.
	return os.WriteFile(b.path(name), []byte(text), 0o644) //nolint:gosec // see above
}

func (b base) launch(name string, args ...string) (*nstest.Process, error) {
	return b.ns.Launch(context.Background(), b.log, name, args...)
}

// output runs a command of the daemon's.
func (b base) output(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c := b.ns.Command(ctx, name, args...)
	out, err := c.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}

// ready polls until ok succeeds or a process ends.
func ready(p *nstest.Process, ok func() error) error {
	deadline := time.After(15 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ok()
		if err == nil {
			return nil
		}
		select {
		case <-p.Done():
			return errors.New("it ended at once")
		case <-deadline:
			return fmt.Errorf("not ready: %w", err)
		case <-tick.C:
		}
	}
}

// path reads an AS path, numbers in a row.
func path(s string) []uint32 {
	var out []uint32
	for _, f := range strings.Fields(s) {
		if n, err := strconv.ParseUint(f, 10, 32); err == nil {
			out = append(out, uint32(n))
		}
	}
	return out
}

// number reads a number; 0 is none.
func number(s string) uint32 {
	n, _ := strconv.ParseUint(strings.TrimSpace(s), 10, 32)
	return uint32(n)
}
