package scenarios

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podroute/podroute/internal/httpload"
	"github.com/podroute/podroute/test/e2e/cluster"
)

// draining is nodes that are taken out of the way of traffic.
func draining() []Scenario {
	return []Scenario{{
		Name: "drain", Disturbs: true, Run: drain,
		Shows: "a node is drained and undrained under 200 requests/s to a LoadBalancer service: none of a new connection fails",
	}}
}

// servedOutside are addresses of a LoadBalancer service.
func servedOutside() []netip.Addr {
	return []netip.Addr{netip.MustParseAddr("203.0.113.80"), netip.MustParseAddr("2001:db8:5::80")}
}

// drainReport is what podroute drain tells, as far as it is looked at.
type drainReport struct {
	Stage        string
	Withdrawn    []string
	Sessions     int
	SessionsTold int `json:"sessions_told"`
	Pods         int
	Seconds      []struct{ Services, Forwarded, Received int }
}

// drain has endpoints on all nodes, and a load on the machine outside. First one of two nodes of a rack is drained, then, by
// its cordon, the other. Not the only node of a rack: its top-of-rack would send to the spine what the spine, for a moment, still
// sends to it.
func drain(ctx context.Context, t *T) error {
	pods, err := t.StartPods(ctx, web("web-1", "n1"), web("web-2", "n2"), web("web-3", "n3"))
	if err != nil {
		return err
	}
	client, err := t.at(cluster.MachineClient)
	if err != nil {
		return err
	}
	if err := t.startLoadBalancer(ctx); err != nil {
		return err
	}
	for _, ip := range servedOutside() {
		if err := client.answersFrom(ctx, url(ip, 80, "/hostname"), names(pods)); err != nil {
			return err
		}
	}
	dialing, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	ways, err := t.watchWays(ctx, servedOutside()[0], cluster.MachineSpine, cluster.TopOfRack("1"), cluster.TopOfRack("2"))
	if err != nil {
		return err
	}
	load := httpload.Start("/hostname", func() (net.Conn, error) {
		return client.dial(dialing, "tcp", netip.AddrPortFrom(servedOutside()[0], 80).String())
	})
	if err = t.drainAndBack(ctx, pods[0], load); err == nil {
		err = t.cordonAndBack(ctx, pods[1], load)
	}
	fresh, kept := load.Stop()
	for who, o := range kept {
		t.Note("connections kept with %s: %v", who, o)
	}
	moments, turns := ways()
	t.Note("new connections: %v; routers changed ways %d times", fresh, turns)
	// Away and back, twice; the first way back and the second way away may follow one another closely.
	if unexplained := fresh.Unexplained(moments); len(unexplained) > 0 || fresh.Cut() > fewCut*turns || fresh.Sent < 1000 || turns < 3 {
		err = errors.Join(err, fmt.Errorf("over new connections: %v; %d turns; not under way when routers changed ways, at %v: %v", fresh, turns, moments, unexplained))
	}
	return err
}

// fewCut is how many requests may be under way when a router changes ways.
const fewCut = 5

// watchWays notes when routers' kernels are told of other ways to an address, and returns what tells the moments, and how many turns they
// are: moments within a second are one.
func (t *T) watchWays(ctx context.Context, to netip.Addr, machines ...string) (func() (moments []time.Time, turns int), error) {
	var outs []*strings.Builder
	var ends []func()
	for _, m := range machines {
		at, err := t.at(m)
		if err != nil {
			return nil, err
		}
		watching, stop := context.WithCancel(ctx)
		monitor, out := exec.CommandContext(watching, "ip", "-ts", "-4", "monitor", "route"), &strings.Builder{}
		monitor.Stdout = out
		end := sync.OnceFunc(func() { stop(); _ = monitor.Wait() }) // killed
		if err := at.do(monitor.Start); err != nil {
			stop()
			return nil, fmt.Errorf("watch the routes of %s: %w", m, err)
		}
		t.Afterwards(func(context.Context) error { end(); return nil })
		outs, ends = append(outs, out), append(ends, end)
	}
	return func() (moments []time.Time, turns int) {
		for i, out := range outs {
			ends[i]()
			for line := range strings.Lines(out.String()) {
				stamp, what, _ := strings.Cut(strings.TrimPrefix(line, "["), "]")
				if at, err := time.ParseInLocation("2006-01-02T15:04:05.000000", stamp, time.Local); err == nil && strings.Contains(what, " "+to.String()+" ") {
					moments = append(moments, at)
				}
			}
		}
		slices.SortFunc(moments, time.Time.Compare)
		for i, began := 0, (time.Time{}); i < len(moments); i++ {
			if moments[i].Sub(began) > httpload.Near {
				turns, began = turns+1, moments[i]
			}
		}
		return moments, turns
	}, nil
}

// startLoadBalancer makes a service with addresses outside, given by hand, and has them advertised.
func (t *T) startLoadBalancer(ctx context.Context) error {
	const advertisement = "e2e-drain"
	t.Afterwards(func(ctx context.Context) error {
		_, err := t.Kubectl(ctx, "delete", "advertisement", advertisement, "--ignore-not-found")
		return err
	})
	s := serviceOf("web", func(s *corev1.ServiceSpec) {
		byHand := "example.org/by-hand"
		s.Type, s.LoadBalancerClass, s.ExternalTrafficPolicy = corev1.ServiceTypeLoadBalancer, &byHand, corev1.ServiceExternalTrafficPolicyLocal
	})
	s.ObjectMeta = metav1.ObjectMeta{Name: s.Name, Labels: map[string]string{"e2e": "drain"}}
	if _, err := t.StartService(ctx, s); err != nil {
		return err
	}
	var status corev1.ServiceStatus
	for _, ip := range servedOutside() {
		status.LoadBalancer.Ingress = append(status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: ip.String()})
	}
	patch, err := json.Marshal(map[string]any{"status": status})
	if err != nil {
		return err
	}
	if _, err := t.kubectl(ctx, "patch", "service", s.Name, "--subresource=status", "--type=merge", "-p", string(patch)); err != nil {
		return err
	}
	return t.Apply(ctx, object("Advertisement", advertisement, map[string]any{"services": map[string]any{
		"addresses": []string{"LoadBalancer"}, "selector": metav1.LabelSelector{MatchLabels: s.Labels},
	}}))
}

// switched waits until a node's top-of-rack leads to an address through the node, or not any more.
func (t *T) switched(ctx context.Context, ip netip.Addr, node string, through bool) error {
	n := nodeNamed(node)
	family, hop := "-4", n.IPv4
	if ip.Is6() {
		family, hop = "-6", n.IPv6
	}
	return cluster.Eventually(ctx, 15*time.Second, func(ctx context.Context) error {
		text, err := t.On(ctx, cluster.TopOfRack(n.Rack), "ip", family, "route", "show", ip.String())
		if err == nil && strings.Contains(text, "via "+hop+" ") != through {
			err = fmt.Errorf("%s leads to %s through %s, that is not %v:\n%s", cluster.TopOfRack(n.Rack), ip, node, through, text)
		}
		return err
	})
}

// drainAndBack drains a pod's node under a load, reads what it tells of it, and undrains it.
func (t *T) drainAndBack(ctx context.Context, p Pod, load *httpload.Load) error {
	node, pod := p.Node, p.Name
	if err := t.asked(ctx, load, pod, 20); err != nil {
		return err
	}
	t.Afterwards(func(ctx context.Context) error { return t.undrain(ctx, node) })
	var report drainReport
	if err := t.tell(ctx, node, &report, "drain", "--timeout", "30s"); err != nil {
		return err
	}
	var errs []error
	for _, ip := range servedOutside() {
		if !slices.Contains(report.Withdrawn, netip.PrefixFrom(ip, ip.BitLen()).String()) {
			errs = append(errs, fmt.Errorf("%s has withdrawn %v, and not %s", node, report.Withdrawn, ip))
		}
		errs = append(errs, t.switched(ctx, ip, node, false))
	}
	last := report.Seconds[max(0, len(report.Seconds)-3):]
	for _, s := range last {
		if s.Services > 1 {
			errs = append(errs, fmt.Errorf("it is said that traffic has faded, with %v", last))
		}
	}
	if report.Stage != "Faded" || report.Sessions != 1 || report.SessionsTold != 1 || report.Pods == 0 {
		errs = append(errs, fmt.Errorf("the report is %+v", report))
	}
	came := make([]int, 0, len(report.Seconds))
	for _, s := range report.Seconds {
		came = append(came, s.Services)
	}
	t.Note("%s drained in %d s; packets to service addresses by second: %v", node, len(report.Seconds), came)
	before := load.Answers()[pod]
	errs = append(errs, t.tellsOfDrain(ctx, node, true))
	if after := load.Answers()[pod]; after > before {
		errs = append(errs, fmt.Errorf("%d requests have come to the drained node", after-before))
	}
	errs = append(errs, t.undrain(ctx, node))
	return errors.Join(append(errs, t.asked(ctx, load, pod, before+20))...)
}

// cordonAndBack cordons a pod's node under a load, with RouterConfig asking for a drain then, and uncordons it.
func (t *T) cordonAndBack(ctx context.Context, p Pod, load *httpload.Load) error {
	const patch = `{"spec":{"drain":%s}}`
	t.Afterwards(func(ctx context.Context) error {
		_, err1 := t.Kubectl(ctx, "uncordon", p.Node)
		_, err2 := t.Kubectl(ctx, "patch", "routerconfig", "default", "--type=merge", "-p", fmt.Sprintf(patch, "null"))
		return errors.Join(err1, err2)
	})
	if _, err := t.Kubectl(ctx, "patch", "routerconfig", "default", "--type=merge", "-p", fmt.Sprintf(patch, `{"onCordon":true}`)); err != nil {
		return err
	}
	if _, err := t.Kubectl(ctx, "cordon", p.Node); err != nil {
		return err
	}
	if err := t.tellsOfDrain(ctx, p.Node, true); err != nil {
		return err
	}
	before := load.Answers()[p.Name]
	if _, err := t.Kubectl(ctx, "uncordon", p.Node); err != nil {
		return err
	}
	return t.asked(ctx, load, p.Name, before+20)
}

func (t *T) undrain(ctx context.Context, node string) error {
	_, err := t.On(ctx, node, filepath.Join(t.Options().Root, "build", "podroute"), "undrain")
	return err
}

// asked waits until somebody has answered so many requests.
func (t *T) asked(ctx context.Context, load *httpload.Load, who string, times int) error {
	return cluster.Eventually(ctx, 15*time.Second, func(context.Context) error {
		if n := load.Answers()[who]; n < times {
			return fmt.Errorf("%s has answered %d requests, not yet %d: %v", who, n, times, load.Answers())
		}
		return nil
	})
}

// tellsOfDrain waits until a node's NodeRouting says that its traffic has faded, or nothing of a drain.
func (t *T) tellsOfDrain(ctx context.Context, node string, drained bool) error {
	return cluster.Eventually(ctx, 15*time.Second, func(ctx context.Context) error {
		var v verdict
		if err := t.Get(ctx, &v, "noderouting", node); err != nil {
			return err
		}
		i := slices.IndexFunc(v.Status.Conditions, func(c metav1.Condition) bool { return c.Type == "Draining" && c.Reason == "Faded" })
		if (i >= 0) != drained {
			return fmt.Errorf("the NodeRouting of %s has the conditions %+v", node, v.Status.Conditions)
		}
		return nil
	})
}
