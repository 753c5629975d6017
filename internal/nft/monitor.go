package nft

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Changed signals that the table may have been changed or deleted, by anybody, this Table's own Set
// included: Set again. Signals come only while Run runs, and coalesce.
func (t *Table) Changed() <-chan struct{} { return t.changed }

// Run listens to the kernel's nftables events until ctx ends, and then returns nil. Many programs empty
// the whole ruleset when they start; without Run that goes unnoticed until the next Set.
func (t *Table) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = t.events.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for {
		messages, err := t.events.Receive()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.ENOBUFS): // events were lost; ours may be among them
			t.signal()
		case err != nil:
			return fmt.Errorf("nftables events: %w", err)
		case anyOurs(messages):
			t.signal()
		}
	}
}

func (t *Table) signal() {
	select {
	case t.changed <- struct{}{}:
	default:
	}
}

// listen subscribes to the nftables events of a namespace.
func listen(netns *os.File) (*netlink.Conn, error) {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{
		NetNS:  int(netns.Fd()),
		Groups: 1 << (unix.NFNLGRP_NFTABLES - 1),
	})
	if err != nil {
		return nil, fmt.Errorf("nftables events: %w", err)
	}
	return c, nil
}

// anyOurs reports whether one of the events is about our table or something in it.
func anyOurs(messages []netlink.Message) bool {
	for _, m := range messages {
		if m.Header.Type>>8 != unix.NFNL_SUBSYS_NFTABLES || len(m.Data) < nfgenmsgLen || m.Data[0] != unix.NFPROTO_INET {
			continue
		}
		attrs, err := netlink.NewAttributeDecoder(m.Data[nfgenmsgLen:])
		if err != nil {
			continue
		}
		for attrs.Next() {
			// The table's name is attribute 1 of every kind of object.
			if attrs.Type() == unix.NFTA_TABLE_NAME && attrs.String() == tableName {
				return true
			}
		}
	}
	return false
}
