package scenarios

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/podroute/podroute/test/e2e/cluster"
)

// clientAddresses are those of the machine outside.
func clientAddresses() []netip.Addr {
	return []netip.Addr{netip.MustParseAddr("198.51.100.10"), netip.MustParseAddr("2001:db8:100::10")}
}

// outside has a server on the machine outside that tells whom it sees, and a pod in each rack.
func outside(ctx context.Context, t *T) error {
	pods, err := t.StartPods(ctx, Want{Name: "a", Node: "n1"}, Want{Name: "c", Node: "n3"})
	if err != nil {
		return err
	}
	client, err := t.at(cluster.MachineClient)
	if err != nil {
		return err
	}
	const port = 8099
	l, err := client.listen(ctx, fmt.Sprintf(":%d", port))
	if err != nil {
		return err
	}
	server := &http.Server{ReadHeaderTimeout: askFor, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(w, r.RemoteAddr)
	})}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = server.Serve(l) }() // ends with Shutdown
	defer func() {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = server.Shutdown(stop)
		<-ended
	}()
	var errs []error
	for _, p := range pods {
		in, err := t.in(p)
		if err != nil {
			return err
		}
		node := nodeAddresses(nodeNamed(p.Node))
		for family, ip := range clientAddresses() {
			errs = append(errs, in.seenAs(ctx, url(ip, port, "/"), node[family]))
			errs = append(errs, client.seenAs(ctx, p.URL(p.IPs[family], "/clientip"), ip))
		}
	}
	return errors.Join(errs...)
}

// nodeNamed is one of the cluster's nodes, or the spare one.
func nodeNamed(name string) cluster.Node {
	for _, n := range cluster.Nodes() {
		if n.Name == name {
			return n
		}
	}
	return cluster.Spare()
}
