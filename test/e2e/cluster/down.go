package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/podroute/podroute/internal/lab"
)

// Down ends the cluster, whole or the debris of one, and removes its machines' disks. Logs stay. Ending
// what is not there is fine.
func Down(ctx context.Context, o Options) (existed bool, err error) {
	existed, err = lab.Destroy(ctx, "", o.labName())
	if err != nil {
		return existed, fmt.Errorf("ending the machines: %w", err)
	}
	if err := removeGroups(ctx, o.labName()); err != nil {
		return existed, err
	}
	return existed, os.RemoveAll(filepath.Join(o.Out, "cluster", "disk"))
}

// removeGroups removes the machines' control groups, which outlive their processes.
func removeGroups(ctx context.Context, lab string) error {
	var all []string
	for _, pattern := range []string{"/sys/fs/cgroup/" + lab + ".*", "/sys/fs/cgroup/*/" + lab + ".*"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return err
		}
		all = append(all, found...)
	}
	for _, group := range all {
		// Busy for as long as the kernel is not done with the last process.
		if err := Eventually(ctx, 20*time.Second, func(context.Context) error { return removeGroup(group) }); err != nil {
			return fmt.Errorf("control group: %w", err)
		}
	}
	return nil
}

// removeGroup removes a group and those below it. Its files go by themselves.
func removeGroup(group string) error {
	entries, err := os.ReadDir(group)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeGroup(filepath.Join(group, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(group); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("rmdir %s: %w", group, err)
	}
	return nil
}
