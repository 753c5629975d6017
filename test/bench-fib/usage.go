package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/podroute/podroute/internal/nstest"
)

// usage is what processes have used so far.
type usage struct {
	RSS int     // resident now, KiB
	CPU float64 // user and system time since their start, seconds
}

// clockTick is USER_HZ, the unit of times in /proc: 100 on every Linux port that Go runs on.
const clockTick = 100

func usageOf(procs []*nstest.Process) (usage, error) {
	var u usage
	for _, p := range procs {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Cmd.Process.Pid))
		if err != nil {
			return u, fmt.Errorf("what process %d uses: %w", p.Cmd.Process.Pid, err)
		}
		// The fields after the program's name, which may itself hold spaces: proc(5), from field 3 on.
		f := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if len(f) < 22 {
			return u, fmt.Errorf("/proc/%d/stat has %d fields", p.Cmd.Process.Pid, len(f))
		}
		for _, i := range []int{11, 12} { // utime, stime
			n, _ := strconv.Atoi(string(f[i]))
			u.CPU += float64(n) / clockTick
		}
		pages, _ := strconv.Atoi(string(f[21]))
		u.RSS += pages * os.Getpagesize() / 1024
	}
	return u, nil
}

// busyTime is the time that the machine's processors have worked since it started, in seconds.
func busyTime() (float64, error) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := bytes.Cut(stat, []byte("\n"))
	ticks := 0
	for i, f := range bytes.Fields(line) {
		switch i {
		case 0, 4, 5, 9, 10: // the name; idle and iowait; guests, which user holds already
		default:
			n, _ := strconv.Atoi(string(f))
			ticks += n
		}
	}
	return float64(ticks) / clockTick, nil
}

// load measures how many processors work for anything but the run itself: where that is much, ratios
// favour the device that can use fewer processors.
type load struct {
	own   []*nstest.Process
	since time.Time
	busy  float64
	mine  float64
}

func newLoad(own []*nstest.Process) (*load, error) {
	l := &load{own: own, since: time.Now()}
	var err error
	l.busy, l.mine, err = l.read()
	return l, err
}

func (l *load) read() (busy, mine float64, err error) {
	if busy, err = busyTime(); err != nil {
		return 0, 0, err
	}
	u, err := usageOf(l.own)
	if err != nil {
		return 0, 0, err
	}
	var self syscall.Rusage
	if err = syscall.Getrusage(syscall.RUSAGE_SELF, &self); err != nil {
		return 0, 0, err
	}
	return busy, u.CPU + time.Duration(self.Utime.Nano()+self.Stime.Nano()).Seconds(), nil
}

// others is the number of processors since newLoad.
func (l *load) others() (float64, error) {
	busy, mine, err := l.read()
	return max(0, (busy-l.busy-mine+l.mine)/time.Since(l.since).Seconds()), err
}
