package interop

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
)

// watch is a ping that runs while something happens.
type watch struct {
	to  netip.Addr
	cmd *exec.Cmd
	out *nstest.Output
}

// startPing pings every 10 ms from a pod, and returns after the first answer.
func startPing(t *testing.T, from *pod, to netip.Addr) *watch {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	w := &watch{to: to, out: &nstest.Output{}}
	w.cmd = from.Command(ctx, "ping", "-i", "0.01", to.String())
	w.cmd.SysProcAttr.Pdeathsig = 0 // the thread that starts it does not last
	w.cmd.Stdout, w.cmd.Stderr = w.out, w.out
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	nstest.Within(t, 5*time.Second, func() error {
		if !strings.Contains(w.out.String(), "icmp_seq=") {
			return fmt.Errorf("no answer yet: %s", w.out)
		}
		return nil
	})
	return w
}

// end stops the ping, after half a second of answers more, and returns its own count.
func (w *watch) end(t *testing.T) (sent, lost int) {
	t.Helper()
	want := strings.Count(w.out.String(), "\n") + 50
	nstest.Within(t, 10*time.Second, func() error {
		if got := strings.Count(w.out.String(), "\n"); got < want {
			return fmt.Errorf("no answers any more:\n%s", w.out)
		}
		return nil
	})
	_ = syscall.Kill(-w.cmd.Process.Pid, syscall.SIGINT)
	_ = w.cmd.Wait() // exits with 1 when nothing came back, which the count says too
	text := w.out.String()
	i := strings.Index(text, "ping statistics ---")
	if i < 0 {
		t.Fatalf("ping printed no statistics:\n%s", text)
	}
	var received int
	line := strings.Split(text[i:], "\n")[1]
	if _, err := fmt.Sscanf(line, "%d packets transmitted, %d received", &sent, &received); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return sent, sent - received
}
