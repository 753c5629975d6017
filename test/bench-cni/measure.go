package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/invoke"
)

// side is one of the two that are compared.
type side struct {
	name string
	node *namespace
	lib  *libcni.CNIConfig
	list *libcni.NetworkConfigList
}

func newSide(name, scratch string, node *namespace, path []string, conflist string) (*side, error) {
	list, err := libcni.NetworkConfFromBytes([]byte(conflist))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	// Libcni's own way of running plugins; it would set it up lazily, and racily.
	exec := &invoke.DefaultExec{RawExec: &invoke.RawExec{Stderr: os.Stderr}}
	lib := libcni.NewCNIConfigWithCacheDir(path, filepath.Join(scratch, "cache"), exec)
	return &side{name: name, node: node, lib: lib, list: list}, nil
}

func podrouteList(plugin, socket string) string {
	return fmt.Sprintf(`{"cniVersion":"1.0.0","name":"podroute","plugins":[{"type":%q,"socket":%q}]}`, plugin, socket)
}

func ptpList(scratch string) string {
	return fmt.Sprintf(`{"cniVersion":"1.0.0","name":"reference","plugins":[{"type":"ptp","ipMasq":false,"ipam":
		{"type":"host-local","ranges":[[{"subnet":"10.89.0.0/20"}]],"routes":[{"dst":"0.0.0.0/0"}],"dataDir":%q}}]}`,
		filepath.Join(scratch, "host-local"))
}

// verbs that are measured, in this order for every pod.
func verbs() []string { return []string{"ADD", "DEL"} }

// times are how long each call took: by side, by verb.
type times struct {
	atOnce int
	sides  []*side // ours first
	took   map[*side]map[string][]time.Duration
}

// measure adds and deletes pods on both sides in turns, so many at once.
func measure(ctx context.Context, ours, theirs *side, pods, atOnce int) (*times, error) {
	t := &times{atOnce: atOnce, sides: []*side{ours, theirs}, took: map[*side]map[string][]time.Duration{}}
	work := make(chan func())
	defer close(work)
	for range atOnce {
		if err := ours.node.worker(work); err != nil {
			return nil, err
		}
	}
	namespaces := map[*side][]*namespace{}
	for _, s := range t.sides {
		t.took[s] = map[string][]time.Duration{}
		for range pods {
			ns, err := newNamespace()
			if err != nil {
				return nil, err
			}
			defer ns.close()
			namespaces[s] = append(namespaces[s], ns)
		}
	}
	for _, verb := range verbs() {
		for at := 0; at < pods; at += atOnce {
			turn := slices.Clone(t.sides)
			if at/atOnce%2 == 1 {
				slices.Reverse(turn)
			}
			for _, s := range turn {
				some := namespaces[s][at:min(at+atOnce, pods)]
				if err := t.round(ctx, work, s, verb, at, some); err != nil {
					return nil, err
				}
			}
		}
	}
	return t, nil
}

// round has every worker do one call.
func (t *times) round(ctx context.Context, work chan<- func(), s *side, verb string, first int, pods []*namespace) error {
	took := make([]time.Duration, len(pods))
	errs := make([]error, len(pods))
	var wg sync.WaitGroup
	for i, ns := range pods {
		rt := &libcni.RuntimeConf{ContainerID: fmt.Sprintf("bench-%d-%d", t.atOnce, first+i), NetNS: ns.path(), IfName: "eth0"}
		wg.Add(1)
		work <- func() {
			defer wg.Done()
			start := time.Now()
			if verb == "ADD" {
				_, errs[i] = s.lib.AddNetworkList(ctx, s.list, rt)
			} else {
				errs[i] = s.lib.DelNetworkList(ctx, s.list, rt)
			}
			took[i] = time.Since(start)
		}
	}
	wg.Wait()
	t.took[s][verb] = append(t.took[s][verb], took...)
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%s %s: %w", s.name, verb, err)
	}
	return nil
}

// quantile is the smallest value that at least the share q of the values do not exceed.
func quantile(d []time.Duration, q float64) time.Duration {
	s := slices.Sorted(slices.Values(d))
	return s[min(int(q*float64(len(s))), len(s)-1)]
}

// ratio of the medians, ours to theirs.
func (t *times) ratio(verb string) float64 {
	ours, theirs := t.took[t.sides[0]][verb], t.took[t.sides[1]][verb]
	return float64(quantile(ours, 0.5)) / float64(quantile(theirs, 0.5))
}

// print writes the table of results.
func print(w io.Writer, all ...*times) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	defer func() { _ = tw.Flush() }()
	_, _ = fmt.Fprintln(tw, "at once\tcall\twho\tpods\tp50 ms\tp95 ms\tratio of p50")
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	for _, t := range all {
		for _, verb := range verbs() {
			for i, s := range t.sides {
				ratio := ""
				if i == 0 {
					ratio = fmt.Sprintf("%.2f", t.ratio(verb))
				}
				d := t.took[s][verb]
				_, _ = fmt.Fprintf(tw, "%d\t%s\t%s\t%d\t%.2f\t%.2f\t%s\n", t.atOnce, verb, s.name, len(d),
					ms(quantile(d, 0.5)), ms(quantile(d, 0.95)), ratio)
			}
		}
	}
}
