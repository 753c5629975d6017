package bfd

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

const (
	realtime = 10  // of 1 to 99, where 50 is what the kernel's own interrupt threads have
	nice     = -15 // where real time is denied
)

// hurry puts this whole process before those that merely compute: packets have to be sent in time on a node that is
// busy. It needs CAP_SYS_NICE. Threads yet to come inherit it.
func hurry() error {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return fmt.Errorf("list this process's threads: %w", err)
	}
	for _, t := range threads {
		id, err := strconv.Atoi(t.Name())
		if err != nil {
			continue
		}
		err = unix.SchedSetAttr(id, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: realtime}, 0)
		if err == nil || errors.Is(err, unix.ESRCH) {
			continue
		}
		err = fmt.Errorf("real-time scheduling: %w", err)
		if e := unix.Setpriority(unix.PRIO_PROCESS, id, nice); e != nil {
			return errors.Join(err, fmt.Errorf("priority %d: %w", nice, e))
		}
		return err
	}
	return nil
}
