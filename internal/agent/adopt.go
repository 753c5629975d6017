package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// A start is a restart, in the sense of RFC 4724, only if the forwarding state of the earlier run is
// still there: the kernel holds routes of ours, and this is the same boot. The mark of the boot lies
// in the run folder, which does not outlive a boot either; both are asked, because some hosts keep
// /run on disk.

const bootMark = "boot-id"

// adopted tells whether this start is a restart, and leaves the mark for the next.
func (a *Agent) adopted(ctx context.Context) (bool, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return false, fmt.Errorf("read the boot ID: %w", err)
	}
	file := filepath.Join(a.RunDir, bootMark)
	mark, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, fmt.Errorf("read the mark of the last run: %w", err)
	}
	installed, err := a.fib.Installed(ctx)
	if err != nil {
		return false, fmt.Errorf("read the kernel's routes: %w", err)
	}
	ours := 0
	a.loop.aggregates = newAggregates()
	for _, r := range installed {
		if !r.Pod {
			ours++
		}
		if r.Unreachable {
			a.loop.aggregates.before[r.Dst] = true
		}
	}
	if err := os.WriteFile(file, boot, 0o600); err != nil {
		return false, fmt.Errorf("mark this boot: %w", err)
	}
	return ours > 0 && strings.TrimSpace(string(mark)) == strings.TrimSpace(string(boot)), nil
}

// forget takes the mark away: the next start is a first one.
func (a *Agent) forget() error {
	a.lives.inOrder()
	if err := os.Remove(filepath.Join(a.RunDir, bootMark)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("forget this run: %w", err)
	}
	return nil
}
