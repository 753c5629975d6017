package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"

	"golang.org/x/sync/errgroup"

	"github.com/podroute/podroute/internal/lab"
)

// stage is one step of coming up. log is the one that tells most when the step fails; none: the agents'.
type stage struct {
	done string
	log  string
	step func(context.Context) error
}

// Up starts a cluster in place of any that runs, and returns when all nodes are ready and DNS answers. On
// error, and when ctx ends, the machines are ended; the logs stay.
func Up(ctx context.Context, o Options) (*Cluster, error) {
	if _, err := Down(ctx, o); err != nil {
		return nil, fmt.Errorf("an earlier cluster: %w", err)
	}
	if err := o.writeAll(); err != nil {
		return nil, err
	}
	top, err := lab.LoadWith(filepath.Join(o.Root, "test/e2e/cluster/fabric/cluster.clab.yml"),
		func(name string) (string, bool) {
			folder, ok := map[string]string{"OUT": o.Out, "BUILD": filepath.Join(o.Root, "build")}[name]
			return folder, ok
		})
	if err != nil {
		return nil, err
	}
	top.Name = o.labName()
	began := time.Now()
	l, err := lab.Deploy(ctx, top, lab.Options{Reconfigure: true, PathDir: o.Bin})
	if err != nil {
		return nil, fmt.Errorf("machines and network: %w", err)
	}
	o.Progress("%5.1f s  %d machines, two racks", time.Since(began).Seconds(), len(top.Nodes))
	c := &Cluster{o: o, lab: l}
	if err := c.up(ctx, began); err != nil {
		if o.KeepFailed && ctx.Err() == nil {
			return nil, fmt.Errorf("%w\nthe machines are left as they are", err)
		}
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		_, downErr := Down(undo, o)
		return nil, errors.Join(err, downErr)
	}
	return c, nil
}

func (c *Cluster) up(ctx context.Context, began time.Time) error {
	for _, s := range []stage{
		{"API server", "cp-kube-apiserver", c.startControlPlane},
		{"containerd, kubelets, images", "n1-kubelet", c.startNodes},
		{"podroute, nodes ready", "", c.installPodroute},
		{"DNS", "n1-kubelet", c.installDNS},
	} {
		err := s.step(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("%s: %w\n%s", s.done, err, c.explain(ctx, s))
		}
		c.o.Progress("%5.1f s  %s", time.Since(began).Seconds(), s.done)
	}
	return nil
}

// explain is the end of the log that tells most.
func (c *Cluster) explain(ctx context.Context, s stage) string {
	if s.log == "" && c.o.DaemonSet() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
		defer cancel()
		text, err := c.Kubectl(ctx, "-n", "kube-system", "logs", "-l", "app.kubernetes.io/name=podroute", "--prefix", "--tail=10",
			"--all-containers")
		if err != nil {
			text += err.Error()
		}
		return "what the agents say:\n" + text
	}
	if s.log == "" {
		s.log = "n1-podroute"
	}
	return fmt.Sprintf("the end of %s:\n%s", filepath.Join(c.Logs(), s.log+".log"), c.logTail(s.log, 15))
}

func (c *Cluster) startControlPlane(ctx context.Context) error {
	port, err := c.startForwarder()
	if err != nil {
		return err
	}
	if err := c.useForwarder(port); err != nil {
		return err
	}
	for _, service := range []string{"etcd", "kube-apiserver"} {
		if err := c.start(ctx, MachineControlPlane, service); err != nil {
			return err
		}
	}
	err = Eventually(ctx, time.Minute, func(ctx context.Context) error {
		_, err := c.Kubectl(ctx, "get", "--raw", "/readyz")
		return err
	})
	if err != nil {
		return err
	}
	for _, service := range []string{"kube-controller-manager", "kube-scheduler"} {
		if err := c.start(ctx, MachineControlPlane, service); err != nil {
			return err
		}
	}
	text, err := files.ReadFile("manifests/kube-proxy.yaml")
	if err != nil {
		return err
	}
	return c.Apply(ctx, string(text))
}

// start starts a service as soon as runit has found it.
func (c *Cluster) start(ctx context.Context, machine, service string) error {
	return Eventually(ctx, 15*time.Second, func(ctx context.Context) error {
		return c.Service(ctx, machine, "start", service)
	})
}

func (c *Cluster) startNodes(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, n := range Nodes() {
		g.Go(func() error { return c.StartNode(ctx, n) })
	}
	return g.Wait()
}

// StartNode starts a node's services, with the images in place before the kubelet asks for one.
func (c *Cluster) StartNode(ctx context.Context, n Node) error {
	if err := c.start(ctx, n.Name, "containerd"); err != nil {
		return err
	}
	images, err := filepath.Glob(filepath.Join(c.o.Images, "*.tar"))
	if err != nil {
		return err
	}
	if c.o.DaemonSet() {
		images = append(images, filepath.Join(c.o.Root, "build", "podroute-image.tar"))
	}
	for _, file := range images {
		if err := c.Import(ctx, n.Name, file); err != nil {
			return err
		}
	}
	for _, service := range []string{"kubelet", "kube-proxy"} {
		if err := c.start(ctx, n.Name, service); err != nil {
			return err
		}
	}
	return Eventually(ctx, 30*time.Second, func(ctx context.Context) error {
		_, err := c.Kubectl(ctx, "get", "node", n.Name)
		return err
	})
}

// Import gives a node's container runtime the images in a docker-archive file.
func (c *Cluster) Import(ctx context.Context, node, file string) error {
	if _, err := os.Stat(file); err != nil {
		return fmt.Errorf("image: %w", err)
	}
	return Eventually(ctx, time.Minute, func(ctx context.Context) error { // containerd may still be starting
		_, err := c.On(ctx, node, "ctr", "-n", "k8s.io", "images", "import", file)
		return err
	})
}

// NodesReady waits until the named nodes are ready and have no startup taint.
func (c *Cluster) NodesReady(ctx context.Context, within time.Duration, names ...string) error {
	return Eventually(ctx, within, func(ctx context.Context) error {
		for _, name := range names {
			var n corev1.Node
			if err := c.Get(ctx, &n, "node", name); err != nil {
				return err
			}
			if err := ready(&n); err != nil {
				return err
			}
		}
		return nil
	})
}

func ready(n *corev1.Node) error {
	for _, t := range n.Spec.Taints {
		return fmt.Errorf("node %s has the taint %s", n.Name, t.ToString())
	}
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady && c.Status != corev1.ConditionTrue {
			return fmt.Errorf("node %s is not ready: %s", n.Name, c.Message)
		}
		if c.Type == corev1.NodeNetworkUnavailable && c.Status == corev1.ConditionTrue {
			return fmt.Errorf("node %s: network unavailable: %s", n.Name, c.Message)
		}
	}
	return nil
}

func (c *Cluster) installDNS(ctx context.Context) error {
	text, err := files.ReadFile("manifests/coredns.yaml")
	if err != nil {
		return err
	}
	if err := c.Apply(ctx, string(text)); err != nil {
		return err
	}
	_, err = c.Kubectl(ctx, "-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=90s")
	return err
}
