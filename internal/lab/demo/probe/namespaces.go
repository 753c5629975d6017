package probe

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/containernetworking/cni/libcni"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// netnsDir is where ip netns finds them too, for those who explore the lab.
const netnsDir = "/run/netns"

const (
	confDir  = "/etc/cni/net.d"
	patience = 10 * time.Second // for the agent to be ready for pods
)

// within runs open on a thread inside the namespace of a pod, or of the node.
func within(pod string, open func() error) error {
	if pod == Node {
		return open()
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		f, err := os.Open(filepath.Join(netnsDir, pod))
		if err != nil {
			done <- err
			return
		}
		defer func() { _ = f.Close() }()
		if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("setns %s: %w", pod, err)
			return
		}
		done <- open()
	}()
	return <-done
}

// newNamespace makes a network namespace with a name, loopback up, as a container runtime does.
func newNamespace(name string) (string, error) {
	path := filepath.Join(netnsDir, name)
	if err := os.MkdirAll(netnsDir, 0o755); err != nil {
		return "", err
	}
	if err := os.WriteFile(path, nil, 0o444); err != nil {
		return "", err
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("unshare: %w", err)
			return
		}
		if err := unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, ""); err != nil {
			done <- fmt.Errorf("mount %s: %w", path, err)
			return
		}
		lo, err := netlink.LinkByName("lo")
		if err == nil {
			err = netlink.LinkSetUp(lo)
		}
		done <- err
	}()
	return path, <-done
}

// wire gives a pod its network through libcni, with the network list that the agent has installed.
func wire(name string, plugins []string) (Pod, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	list, err := networkList(ctx)
	if err != nil {
		return Pod{}, err
	}
	ns, err := newNamespace(name)
	if err != nil {
		return Pod{}, err
	}
	id := sha256.Sum256([]byte(name))
	began := time.Now()
	result, err := libcni.NewCNIConfig(plugins, nil).AddNetworkList(ctx, list, &libcni.RuntimeConf{
		ContainerID: hex.EncodeToString(id[:]), NetNS: ns, IfName: "eth0",
		Args: [][2]string{
			{"IgnoreUnknown", "1"},
			{"K8S_POD_NAMESPACE", "demo"},
			{"K8S_POD_NAME", name},
			{"K8S_POD_INFRA_CONTAINER_ID", hex.EncodeToString(id[:])},
		},
	})
	if err != nil {
		return Pod{}, fmt.Errorf("CNI ADD: %w", err)
	}
	pod := Pod{Name: name, Took: time.Since(began)}
	r, err := types100.NewResultFromResult(result)
	if err != nil {
		return Pod{}, fmt.Errorf("CNI ADD: %w", err)
	}
	for _, ip := range r.IPs {
		if a, ok := netip.AddrFromSlice(ip.Address.IP); ok {
			pod.Addresses = append(pod.Addresses, a.Unmap())
		}
	}
	return pod, nil
}

// networkList waits for the agent's network list: it is there as soon as ADD can succeed.
func networkList(ctx context.Context) (*libcni.NetworkConfigList, error) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		files, err := libcni.ConfFiles(confDir, []string{".conflist"})
		if err == nil && len(files) > 0 {
			return libcni.ConfListFromFile(files[0])
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("no CNI network list in %s after %v; the agent's log says why", confDir, patience), err)
		case <-tick.C:
		}
	}
}

func mainTable() ([]netip.Prefix, error) {
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil, fmt.Errorf("routes: %w", err)
	}
	out := make([]netip.Prefix, 0, len(routes))
	for _, r := range routes {
		if r.Dst == nil {
			continue
		}
		addr, _ := netip.AddrFromSlice(r.Dst.IP)
		ones, _ := r.Dst.Mask.Size()
		out = append(out, netip.PrefixFrom(addr.Unmap(), ones))
	}
	return out, nil
}
