package scenarios

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/podroute/podroute/test/e2e/cluster"
)

// agnhost is upstream's test workload; netexec, what pods run unless told otherwise, answers HTTP on port
// 8080: /clientip, /hostname, /echo?msg=, /shell?shellCommand=, and UDP on 8081.
const agnhost = "registry.k8s.io/e2e-test-images/agnhost:2.56"

// HTTPPort is where netexec answers.
const HTTPPort = 8080

// Want is a pod to be.
type Want struct {
	Name string
	// Node, if set, is where it runs.
	Node        string
	HostNetwork bool
	Labels      map[string]string
	Annotations map[string]string
	// Change, if set, changes the pod before it is created.
	Change func(*corev1.Pod)
}

// Pod is a pod that runs. IPs are one a family, IPv4 first.
type Pod struct {
	Name, Node string
	IPs        []netip.Addr
	container  string
	uid        string
}

// IPv4 of the pod.
func (p Pod) IPv4() netip.Addr { return p.IPs[0] }

// URL of netexec in the pod, at the address of the pod's that is of the same family as like.
func (p Pod) URL(ip netip.Addr, path string) string {
	return fmt.Sprintf("http://%s%s", netip.AddrPortFrom(ip, HTTPPort), path)
}

// StartPods creates pods and waits until all are ready.
func (t *T) StartPods(ctx context.Context, wants ...Want) ([]Pod, error) {
	if err := t.CreatePods(ctx, wants...); err != nil {
		return nil, err
	}
	return t.AwaitPods(ctx, wants...)
}

// CreatePods creates pods and waits for nothing.
func (t *T) CreatePods(ctx context.Context, wants ...Want) error {
	var list corev1.PodList
	list.APIVersion, list.Kind = "v1", "List"
	for _, w := range wants {
		list.Items = append(list.Items, *w.pod(t.Namespace))
	}
	text, err := json.Marshal(list)
	if err != nil {
		return err
	}
	return t.Create(ctx, string(text))
}

// AwaitPods waits until pods are ready.
func (t *T) AwaitPods(ctx context.Context, wants ...Want) (pods []Pod, err error) {
	within := time.Minute
	if deadline, ok := ctx.Deadline(); ok {
		within = time.Until(deadline)
	}
	err = cluster.Eventually(ctx, within, func(ctx context.Context) (err error) {
		pods, err = t.ready(ctx, wants)
		return err
	})
	return pods, err
}

// ready are the pods wanted, or an error if not all are ready now.
func (t *T) ready(ctx context.Context, wants []Want) ([]Pod, error) {
	var list corev1.PodList
	if err := t.Get(ctx, &list, "pods", "-n", t.Namespace); err != nil {
		return nil, err
	}
	byName := map[string]*corev1.Pod{}
	for i := range list.Items {
		byName[list.Items[i].Name] = &list.Items[i]
	}
	pods := make([]Pod, len(wants))
	for i, w := range wants {
		p, ok := byName[w.Name]
		if !ok {
			return nil, fmt.Errorf("pod %s does not exist", w.Name)
		}
		var err error
		if pods[i], err = running(p); err != nil {
			return nil, err
		}
	}
	return pods, nil
}

// running takes from a pod what tests ask of it, once it is ready.
func running(p *corev1.Pod) (Pod, error) {
	out := Pod{Name: p.Name, Node: p.Spec.NodeName, uid: string(p.UID)}
	ready := false
	for _, c := range p.Status.Conditions {
		ready = ready || c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	}
	if !ready {
		return out, fmt.Errorf("pod %s is not ready: %s", p.Name, p.Status.Phase)
	}
	for _, ip := range p.Status.PodIPs {
		addr, err := netip.ParseAddr(ip.IP)
		if err != nil {
			return out, fmt.Errorf("pod %s: %w", p.Name, err)
		}
		out.IPs = append(out.IPs, addr)
	}
	if len(out.IPs) == 0 {
		return out, fmt.Errorf("pod %s has no address", p.Name)
	}
	_, out.container, _ = strings.Cut(p.Status.ContainerStatuses[0].ContainerID, "://")
	return out, nil
}

func (w Want) pod(namespace string) *corev1.Pod {
	grace := int64(1)
	p := &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Name: w.Name, Namespace: namespace, Labels: w.Labels, Annotations: w.Annotations},
		Spec: corev1.PodSpec{
			HostNetwork:                   w.HostNetwork,
			TerminationGracePeriodSeconds: &grace,
			Containers: []corev1.Container{{
				Name: "agnhost", Image: agnhost, ImagePullPolicy: corev1.PullNever,
				Args: []string{"netexec", fmt.Sprintf("--http-port=%d", HTTPPort), "--udp-port=8081"},
				ReadinessProbe: &corev1.Probe{
					ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/", Port: intstr.FromInt32(HTTPPort)}},
					PeriodSeconds: 1, FailureThreshold: 10,
				},
			}},
		},
	}
	if w.Node != "" {
		p.Spec.NodeSelector = map[string]string{corev1.LabelHostname: w.Node}
	}
	if w.Change != nil {
		w.Change(p)
	}
	return p
}

// Exec runs a program in a pod's container and returns its standard output.
func (t *T) Exec(ctx context.Context, p Pod, argv ...string) (string, error) {
	return t.kubectl(ctx, append([]string{"exec", p.Name, "--"}, argv...)...)
}

// Fetch gets a URL from inside a pod.
func (t *T) Fetch(ctx context.Context, from Pod, url string) (string, error) {
	out, err := t.Exec(ctx, from, "curl", "-sS", "--fail", "--globoff", "--max-time", "5", url)
	return strings.TrimSpace(out), err
}
