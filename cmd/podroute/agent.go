package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/podroute/podroute/config/file"
	"github.com/podroute/podroute/config/kube"
	"github.com/podroute/podroute/internal/agent"
)

// gcPercent lets the heap grow to five times what is live before it is collected. The agent's heap is
// small and grows in bursts, when a neighbour sends a full table: collecting less often then saves a third
// of the time until the routes are in the kernel, for a tenth more memory at its peak. GOGC overrides it.
const gcPercent = 400

// agentFlags are what the command line of an agent says.
type agentFlags struct {
	agent.Options
	dir, kubeconfig, level string
}

func newAgent() *cobra.Command {
	var o agentFlags
	c := &cobra.Command{
		Use:   "agent [--config DIR | --kubeconfig FILE]",
		Short: "Run the node agent",
		Long: `Run the node agent until SIGTERM or SIGINT. To its peers, that is a restart: the kernel goes on forwarding,
and they keep this node's routes for the restart time. To take the node out for good, use podroute leave.

The configuration comes from a folder of manifests (--config), or from the Kubernetes API: with
--kubeconfig as that file says, in a pod without either as the pod's service account.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return o.run(c.Context()) },
	}
	f := c.Flags()
	f.StringVar(&o.dir, "config", "", "folder of manifests; read again whenever it changes")
	f.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig file that says where the Kubernetes API is; default: as in a pod")
	f.StringVar(&o.NodeName, "node-name", os.Getenv("NODE_NAME"), "this node's name; default $NODE_NAME, else the host name")
	f.StringVar(&o.RunDir, "run-dir", runDir, "folder of the sockets")
	f.StringVar(&o.ConfDir, "cni-conf-dir", "/etc/cni/net.d", "folder of the container runtime's network configuration")
	f.StringVar(&o.BinDir, "cni-bin-dir", "/opt/cni/bin", "folder of the container runtime's network plugins")
	f.StringVar(&o.ProcSys, "proc-sys", "/proc/sys", "folder to write settings of network namespaces in; /proc/sys is read-only in a container")
	f.StringVar(&o.HealthAddress, "health-address", "127.0.0.1:9179", "where /livez and /readyz are served; empty: nowhere")
	f.StringVar(&o.level, "log-level", "info", "debug, info, warn or error")
	_ = c.MarkFlagDirname("config") // the flags exist
	_ = c.MarkFlagFilename("kubeconfig")
	return c
}

// run runs the agent until ctx ends.
func (o agentFlags) run(ctx context.Context) error {
	var l slog.Level
	if err := l.UnmarshalText([]byte(o.level)); err != nil {
		return usageError{fmt.Errorf("--log-level %s: use debug, info, warn or error", o.level)}
	}
	if err := o.oneSource(); err != nil {
		return usageError{err}
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
	o.Version = version
	o.BFD = []string{"/proc/self/exe", "bfd"}
	if err := o.open(ctx); err != nil {
		return err
	}
	return agent.Run(ctx, o.Options)
}

// oneSource tells whether the configuration comes from one place.
func (o agentFlags) oneSource() error {
	switch {
	case o.dir != "" && o.kubeconfig != "":
		return errors.New("--config and --kubeconfig exclude each other: the configuration comes from a folder, or from the Kubernetes API")
	case o.dir == "" && o.kubeconfig == "" && os.Getenv("KUBERNETES_SERVICE_HOST") == "":
		return errors.New("where is the configuration? Name a folder of manifests with --config, or a kubeconfig with --kubeconfig (in a pod, neither is needed)")
	}
	return nil
}

// open opens the source of the configuration.
func (o *agentFlags) open(ctx context.Context) error {
	log := o.Log.With("part", "config")
	if o.dir != "" {
		source, err := file.New(o.dir, log)
		if err != nil {
			return fmt.Errorf("read the configuration: %w", err)
		}
		o.Source = source
		return nil
	}
	kube.LogTo(log)
	source, err := kube.New(ctx, kube.Options{
		Log: log, NodeName: o.NodeName, Kubeconfig: o.kubeconfig, Namespace: os.Getenv("POD_NAMESPACE"), RunDir: o.RunDir,
	})
	if err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	o.Source, o.Cluster = source, source
	return nil
}
