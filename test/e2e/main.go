package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/podroute/podroute/internal/lab"
	"github.com/podroute/podroute/test/e2e/binaries"
	"github.com/podroute/podroute/test/e2e/cluster"
	"github.com/podroute/podroute/test/e2e/images"
)

func main() {
	if code, ran := lab.Reexec(); ran {
		os.Exit(code)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	err := command(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "e2e: %v\n", err)
		os.Exit(1)
	}
}

func command(ctx context.Context, args []string) error {
	usage := errors.New("usage: podroute-e2e build | up | down | run [flags]; -h tells a command's flags")
	if len(args) == 0 {
		return usage
	}
	name, args := args[0], args[1:]
	if name == cluster.ForwardCommand && len(args) == 1 {
		return cluster.Forward(args[0])
	}
	root, err := repository()
	if err != nil {
		return err
	}
	h := harness{root: root, out: filepath.Join(root, "build", "e2e")}
	switch name {
	case "build":
		_, err = h.prepare(ctx)
	case "up":
		err = h.up(ctx, args)
	case "down":
		err = h.down(ctx)
	case "run":
		err = h.run(ctx, args)
	default:
		err = usage
	}
	return err
}

// repository finds the folder above that holds this module's parent.
func repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "test", "e2e", "go.mod")); err == nil {
			return dir, nil
		}
	}
	return "", errors.New("run it inside the repository")
}

// harness is the command line's own state.
type harness struct {
	root, out string
	o         cluster.Options
}

func (h *harness) say(format string, args ...any) { fmt.Printf(format+"\n", args...) }

// flags that say what cluster it shall be.
func (h *harness) flags(f *flag.FlagSet) {
	f.StringVar(&h.o.Install, "install", cluster.InstallManifest, "how podroute gets onto the nodes: manifest, process or none")
	f.StringVar(&h.o.Overlay, "overlay", filepath.Join(h.root, "test/e2e/overlays/tor"), "kustomization for -install manifest")
	f.StringVar(&h.o.ProxyMode, "proxy", "nftables", "mode of kube-proxy: nftables or iptables")
	f.Func("node-proxy", "NODE=MODE: the mode of one node's kube-proxy; may be repeated", func(s string) error {
		node, mode, ok := strings.Cut(s, "=")
		if !ok {
			return errors.New("must be NODE=MODE")
		}
		if h.o.ProxyModes == nil {
			h.o.ProxyModes = map[string]string{}
		}
		h.o.ProxyModes[node] = mode
		return nil
	})
}

// prepare builds programs and images.
func (h *harness) prepare(ctx context.Context) (cluster.Options, error) {
	o := h.o
	bin, err := binaries.Builder{Root: h.root, Progress: h.say}.Dir(ctx)
	if err != nil {
		return o, fmt.Errorf("building: %w", err)
	}
	o.Root, o.Bin, o.Out, o.Images, o.Progress = h.root, bin, h.out, filepath.Join(h.out, "images"), h.say
	return o, images.Maker{Bin: bin, Out: o.Images}.Make(ctx)
}

func (h *harness) up(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("up", flag.ExitOnError)
	h.flags(f)
	if err := f.Parse(args); err != nil {
		return err
	}
	o, err := h.prepare(ctx)
	if err != nil {
		return err
	}
	c, err := cluster.Up(ctx, o)
	if err != nil {
		return err
	}
	h.say("\nThe cluster is up. Its kubeconfig:\n\n  export KUBECONFIG=%s PATH=%s:$PATH\n\n"+
		"Logs are in %s. make cluster-down ends it.", c.Kubeconfig(), o.Bin, c.Logs())
	return nil
}

func (h *harness) down(ctx context.Context) error {
	existed, err := cluster.Down(ctx, h.out)
	if err == nil && !existed {
		h.say("no cluster was running")
	}
	return err
}
