package main

import (
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/podroute/podroute/config/file"
	"github.com/podroute/podroute/internal/agent"
)

// gcPercent lets the heap grow to five times what is live before it is collected. The agent's heap is
// small and grows in bursts, when a neighbour sends a full table: collecting less often then saves a third
// of the time until the routes are in the kernel, for a tenth more memory at its peak. GOGC overrides it.
const gcPercent = 400

func newAgent() *cobra.Command {
	var o agent.Options
	var dir, level string
	c := &cobra.Command{
		Use:   "agent --config DIR",
		Short: "Run the node agent",
		Long: `Run the node agent until SIGTERM or SIGINT. To its peers, that is a restart: the kernel goes on forwarding,
and they keep this node's routes for the restart time. To take the node out for good, use podroute leave.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var l slog.Level
			if err := l.UnmarshalText([]byte(level)); err != nil {
				return usageError{fmt.Errorf("--log-level %s: use debug, info, warn or error", level)}
			}
			if dir == "" {
				return usageError{fmt.Errorf("--config is missing: name the folder of manifests")}
			}
			if o.NodeName == "" {
				host, err := os.Hostname()
				if err != nil {
					return fmt.Errorf("find this node's name: %w", err)
				}
				o.NodeName = strings.ToLower(host)
			}
			if os.Getenv("GOGC") == "" {
				debug.SetGCPercent(gcPercent)
			}
			o.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: l}))
			source, err := file.New(dir, o.Log.With("part", "config"))
			if err != nil {
				return fmt.Errorf("read the configuration: %w", err)
			}
			o.Source, o.Version = source, version
			return agent.Run(c.Context(), o)
		},
	}
	f := c.Flags()
	f.StringVar(&dir, "config", "", "folder of manifests; read again whenever it changes")
	f.StringVar(&o.NodeName, "node-name", os.Getenv("NODE_NAME"), "this node's name; default $NODE_NAME, else the host name")
	f.StringVar(&o.RunDir, "run-dir", runDir, "folder of the sockets")
	f.StringVar(&o.ConfDir, "cni-conf-dir", "/etc/cni/net.d", "folder of the container runtime's network configuration")
	f.StringVar(&o.BinDir, "cni-bin-dir", "/opt/cni/bin", "folder of the container runtime's network plugins")
	f.StringVar(&o.ProcSys, "proc-sys", "/proc/sys", "folder to write settings of network namespaces in; /proc/sys is read-only in a container")
	f.StringVar(&level, "log-level", "info", "debug, info, warn or error")
	_ = c.MarkFlagDirname("config") // the flag exists
	return c
}
