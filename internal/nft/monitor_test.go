package nft

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
)

// TestChanged plays the agent: it sets the table again whenever it is signalled, while another program
// empties the ruleset.
func TestChanged(t *testing.T) {
	t.Parallel()
	ns := nstest.New(t)
	table := newTable(t, ns)
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- table.Run(ctx) }()

	healed := make(chan error, 1)
	go func() {
		for {
			select {
			case <-table.Changed():
				if err := table.Set(ctx, exampleConfig()); err != nil && ctx.Err() == nil {
					healed <- err
					return
				}
			case <-ctx.Done():
				healed <- nil
				return
			}
		}
	}()
	nft(t, ns, "add table inet podroute") // the first signal
	for _, attack := range []string{"flush ruleset", "delete table inet podroute", "flush chain inet podroute postrouting"} {
		whole := func() error {
			out, err := ns.Try("nft list table inet podroute")
			if err == nil && len(out) < 1000 {
				err = fmt.Errorf("only:\n%s", out)
			}
			return err
		}
		nstest.Within(t, time.Second, whole)
		nft(t, ns, attack)
		nstest.Within(t, time.Second, whole)
	}

	cancel()
	for name, ch := range map[string]chan error{"Run": ran, "the loop": healed} {
		if err := <-ch; err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestEventsOfOthersAreNoSignal: what others do to their own tables is none of our business.
func TestEventsOfOthersAreNoSignal(t *testing.T) {
	t.Parallel()
	ns := nstest.New(t)
	table := newTable(t, ns)
	ours := func() (events int, any bool) {
		if err := table.events.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		for { // the kernel has queued the events before the change returned
			messages, err := table.events.Receive()
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return events, any
			}
			if err != nil {
				t.Fatal(err)
			}
			events += len(messages)
			any = any || anyOurs(messages)
		}
	}
	for _, family := range []string{"inet mine", "ip podroute", "inet podroute2"} {
		nft(t, ns, fmt.Sprintf("add table %[1]s\nadd chain %[1]s c\nadd rule %[1]s c counter\nadd set %[1]s s { type ipv4_addr; }\ndelete table %[1]s", family))
		if events, any := ours(); events < 5 || any {
			t.Errorf("table %s: %d events, ours among them: %v", family, events, any)
		}
	}
	for _, change := range []func(){
		func() { mustSet(t, table, exampleConfig()) },
		func() {
			nft(t, ns, "add element inet podroute "+newSet("pods", families()[0], exampleConfig().PodCIDRs).name+" { 10.9.0.0/24 }")
		},
		func() { nft(t, ns, "add rule inet podroute postrouting counter") },
		func() { nft(t, ns, "flush ruleset") },
	} {
		change()
		if events, any := ours(); !any {
			t.Errorf("none of %d events is ours", events)
		}
	}
}
