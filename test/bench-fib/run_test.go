package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestRun measures a small feed on every device: what is measured must be plausible, and the packing
// as announced.
func TestRun(t *testing.T) {
	t.Parallel()
	b := bench{agent: filepath.Join(t.TempDir(), "podroute"), prefixes: feed(1000), progress: io.Discard}
	build := exec.Command("go", "build", "-o", b.agent, "../../cmd/podroute")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, device := range []string{devBIRD, devPodroute, devFRR} {
		for _, per := range []int{100, 3} {
			t.Run(device, func(t *testing.T) {
				t.Parallel()
				m, err := b.run(t.Context(), job{Device: device, Round: 1, PerUpdate: per})
				if err != nil {
					t.Fatal(err)
				}
				if want := (1000 + per - 1) / per; m.Updates != want {
					t.Errorf("%d UPDATEs, want %d", m.Updates, want)
				}
				if m.InstallMS <= 0 || m.InstallMS < m.ArriveMS || m.WithdrawMS <= 0 || m.IdleRSS <= 0 || m.FullRSS <= 0 {
					t.Errorf("implausible: %+v", m)
				}
			})
		}
	}
}

// TestDeviceEnds: a device that dies ends the run at once, and says what it printed.
func TestDeviceEnds(t *testing.T) {
	t.Parallel()
	b := bench{agent: "/bin/false", prefixes: feed(100), progress: io.Discard}
	_, err := b.run(t.Context(), job{Device: devPodroute, Round: 1, PerUpdate: 100})
	if err == nil || !strings.Contains(err.Error(), "ended") {
		t.Fatalf("a device that is /bin/false: %v", err)
	}
}
