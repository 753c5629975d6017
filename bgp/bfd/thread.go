package bfd

import (
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

const (
	realtime = 10  // of 1 to 99, where 50 is what the kernel's own interrupt threads have
	nice     = -15 // where real time is denied
)

// thread is the operating system's thread that Run runs on.
type thread struct{ raised bool }

// raise puts the calling thread before those that merely compute: packets have to be sent in time on a node that
// is busy. It needs CAP_SYS_NICE. Threads that the Go runtime makes of this one are not raised.
func (t *thread) raise() error {
	if t.raised {
		return nil
	}
	t.raised = true
	err := unix.SchedSetAttr(0, &unix.SchedAttr{
		Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: realtime, Flags: unix.SCHED_FLAG_RESET_ON_FORK,
	}, 0)
	if err == nil {
		return nil
	}
	err = fmt.Errorf("real-time scheduling: %w", err)
	if e := unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), nice); e != nil {
		return errors.Join(err, fmt.Errorf("priority %d: %w", nice, e))
	}
	return err
}

// release gives the thread back to the runtime as it was; one that cannot be made so ends with its goroutine.
func (t *thread) release() {
	if t.raised {
		if unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_NORMAL}, 0) != nil {
			return
		}
	}
	runtime.UnlockOSThread()
}
