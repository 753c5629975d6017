package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// Commands about a node's cmd, the daemon that the topology file starts in it.

func killCommand() *cobra.Command {
	var t target
	name := "KILL"
	c := &cobra.Command{
		Use:               "kill -t FILE.clab.yml NODE",
		Short:             "Send a signal to a node's cmd; the node itself lives on",
		Args:              exactly("NODE"),
		ValidArgsFunction: t.completeNode,
		RunE: func(c *cobra.Command, args []string) error {
			sig, err := signalNumber(name)
			if err != nil {
				return err
			}
			l, err := t.open()
			if err != nil {
				return err
			}
			return l.Signal(c.Context(), args[0], sig, sig == unix.SIGKILL)
		},
	}
	t.flags(c)
	c.Flags().StringVarP(&name, "signal", "s", name, "signal, such as TERM or HUP")
	return c
}

func signalNumber(name string) (syscall.Signal, error) {
	sig := unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(name), "SIG"))
	if sig == 0 {
		return 0, usageError{fmt.Errorf("no signal is called %q", name)}
	}
	return sig, nil
}

func startCommand() *cobra.Command {
	var t target
	c := &cobra.Command{
		Use:               "start -t FILE.clab.yml NODE",
		Short:             "Start a node's cmd again after it has ended",
		Args:              exactly("NODE"),
		ValidArgsFunction: t.completeNode,
		RunE: func(c *cobra.Command, args []string) error {
			l, err := t.open()
			if err != nil {
				return err
			}
			return l.Start(c.Context(), args[0])
		},
	}
	t.flags(c)
	return c
}

func restartCommand() *cobra.Command {
	var t target
	c := &cobra.Command{
		Use:               "restart -t FILE.clab.yml NODE",
		Short:             "End a node's cmd with SIGTERM, wait for it, and start it again",
		Args:              exactly("NODE"),
		ValidArgsFunction: t.completeNode,
		RunE: func(c *cobra.Command, args []string) error {
			l, err := t.open()
			if err != nil {
				return err
			}
			st, err := l.Status(c.Context(), args[0])
			if err != nil {
				return err
			}
			if st.Running {
				if err := l.Signal(c.Context(), args[0], unix.SIGTERM, true); err != nil {
					return err
				}
			}
			return l.Start(c.Context(), args[0])
		},
	}
	t.flags(c)
	return c
}

func logsCommand() *cobra.Command {
	var t target
	c := &cobra.Command{
		Use:               "logs -t FILE.clab.yml NODE",
		Short:             "Show what a node's cmd has printed",
		Args:              exactly("NODE"),
		ValidArgsFunction: t.completeNode,
		RunE: func(_ *cobra.Command, args []string) error {
			l, err := t.open()
			if err != nil {
				return err
			}
			f, err := os.Open(l.LogFile(args[0]))
			if errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("lab %s has no node %q", l.Name(), args[0])
			}
			if err != nil {
				return err
			}
			defer func() { _ = f.Close() }()
			_, err = io.Copy(os.Stdout, f)
			return err
		},
	}
	t.flags(c)
	return c
}
