package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"

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
			return u, fmt.Errorf("what the device uses: %w", err)
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
