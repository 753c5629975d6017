package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/podroute/podroute/internal/lab"
	"github.com/podroute/podroute/test/e2e/binaries"
	"github.com/podroute/podroute/test/e2e/cluster"
	"github.com/podroute/podroute/test/e2e/images"
	"github.com/podroute/podroute/test/e2e/traffic"
)

func main() {
	if code, ran := lab.Reexec(); ran {
		os.Exit(code)
	}
	// Whatever ends a run, also that nobody reads what it says, ends the cluster in good order.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM, unix.SIGHUP, unix.SIGPIPE)
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
	if name == traffic.Command {
		return traffic.Serve(args, os.Stdin, os.Stdout)
	}
	root, err := repository()
	if err != nil {
		return err
	}
	h := harness{root: root, o: cluster.Options{Root: root}}
	switch name {
	case "build":
		_, err = h.prepare(ctx)
	case "up":
		err = h.up(ctx, args)
	case "down":
		err = h.down(ctx, args)
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
	root  string
	which string // of the clusters; empty: as the command needs
	o     cluster.Options
}

// named are the flags that say which cluster.
func (h *harness) named(f *flag.FlagSet) {
	f.StringVar(&h.o.Name, "name", cluster.DefaultName, "name of the cluster, and of its folder in build/")
}

// out is the folder of everything that a cluster and its tests write.
func (h *harness) out() string { return filepath.Join(h.root, "build", h.o.Name) }

func (h *harness) say(format string, args ...any) { fmt.Printf(format+"\n", args...) }

// prepare builds programs and images.
func (h *harness) prepare(ctx context.Context) (cluster.Options, error) {
	o := h.o
	bin, err := binaries.Builder{Root: h.root, Progress: h.say}.Dir(ctx)
	if err != nil {
		return o, fmt.Errorf("building: %w", err)
	}
	o.Root, o.Bin, o.Out, o.Images, o.Progress = h.root, bin, h.out(), filepath.Join(h.out(), "images"), h.say
	return o, images.Maker{Bin: bin, Out: o.Images}.Make(ctx)
}

func (h *harness) up(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("up", flag.ExitOnError)
	h.flags(f)
	if err := f.Parse(args); err != nil {
		return err
	}
	h.which = cmp.Or(h.which, torCluster)
	o, err := h.prepare(ctx)
	if err != nil {
		return err
	}
	plans, err := h.plans(o)
	if err != nil {
		return err
	}
	c, err := cluster.Up(ctx, plans[0].o)
	if err != nil {
		return err
	}
	h.say("\nThe cluster is up. Its kubeconfig:\n\n  export KUBECONFIG=%s PATH=%s:$PATH\n\n"+
		"Logs are in %s. make cluster-down ends it.", c.Kubeconfig(), o.Bin, c.Logs())
	return nil
}

func (h *harness) down(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("down", flag.ExitOnError)
	h.named(f)
	if err := f.Parse(args); err != nil {
		return err
	}
	h.o.Out = h.out()
	plans, err := h.plans(h.o)
	if err != nil {
		return err
	}
	any, errs := false, []error(nil)
	for _, p := range plans {
		existed, err := cluster.Down(ctx, p.o)
		any, errs = any || existed, append(errs, err)
	}
	if !any {
		h.say("no cluster was running")
	}
	return errors.Join(errs...)
}
