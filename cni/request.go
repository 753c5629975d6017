package cni

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/podroute/podroute/cni/cnipb"
)

// Versions of the CNI specification that are spoken, oldest first.
func Versions() []string { return []string{"0.3.1", "0.4.0", "1.0.0", "1.1.0"} }

// AddressAnnotation on a pod asks for addresses; the runtime passes a pod's annotations with the capability
// podAnnotations (containerd since 1.4, CRI-O likewise).
const (
	AddressAnnotation = "podroute.io/addresses"
	podAnnotations    = "io.kubernetes.cri.pod-annotations"
)

// verb is a CNI command.
type verb struct {
	name       string
	since      string // version of the specification that introduced it
	attachment bool   // is about one attachment
}

// netConf is what we read of a network configuration. Unknown keys are the business of runtimes and
// other plugins.
type netConf struct {
	CNIVersion    string                `json:"cniVersion"`
	Name          string                `json:"name"`
	DNS           types.DNS             `json:"dns"`
	PrevResult    json.RawMessage       `json:"prevResult"`
	Valid         *[]types.GCAttachment `json:"cni.dev/valid-attachments"`
	RuntimeConfig struct {
		IPs         []string          `json:"ips"`                               // capability "ips"
		Annotations map[string]string `json:"io.kubernetes.cri.pod-annotations"` // capability podAnnotations, the pod's
	} `json:"runtimeConfig"`
	Args struct {
		CNI struct {
			IPs []string `json:"ips"`
		} `json:"cni"`
	} `json:"args"`
}

// request is a judged cnipb.Request.
type request struct {
	containerID, ifName, netns string
	podNamespace, podName      string
	conf                       netConf
	want                       []netip.Addr // addresses asked for by name
}

// fail makes a CNI error.
func fail(code uint, format string, args ...any) *types.Error {
	err := fmt.Errorf(format, args...)
	return types.NewError(code, err.Error(), "")
}

// judge checks a request as far as that is possible without the kernel; the version of the answer, even
// of an error, is the configuration's where that can be read.
func judge(v verb, r *cnipb.Request) (*request, *types.Error) {
	q := &request{containerID: r.GetContainerId(), ifName: r.GetIfName(), netns: r.GetNetns()}
	if err := json.Unmarshal(r.GetConfig(), &q.conf); err != nil {
		return nil, fail(types.ErrDecodingFailure, "the network configuration on standard input is not valid JSON of its kind: %w", err)
	}
	if err := q.checkVersion(v); err != nil {
		return nil, err
	}
	if !isID(q.conf.Name) {
		return nil, fail(types.ErrInvalidNetworkConfig, "the network configuration's name %q must begin with a letter or digit and hold letters, digits, '_', '.', '-' only", q.conf.Name)
	}
	if !v.attachment {
		return q, nil
	}
	if !isID(q.containerID) {
		return nil, fail(types.ErrInvalidEnvironmentVariables, "CNI_CONTAINERID %q must begin with a letter or digit and hold letters, digits, '_', '.', '-' only", q.containerID)
	}
	if !isIfName(q.ifName) {
		return nil, fail(types.ErrInvalidEnvironmentVariables, "CNI_IFNAME %q must be 1 to 15 characters, not '.' or '..', without '/', ':', '%%', or spaces", q.ifName)
	}
	if err := q.readArgs(r.GetArgs()); err != nil {
		return nil, err
	}
	if v.name != "ADD" {
		return q, nil // a pod that asks for nonsense must be deletable
	}
	return q, q.readAddresses()
}

func (q *request) checkVersion(v verb) *types.Error {
	have := slices.Index(Versions(), q.conf.CNIVersion)
	switch {
	case have < 0:
		return fail(types.ErrIncompatibleCNIVersion, "cniVersion %q is not supported; use one of %s", q.conf.CNIVersion, strings.Join(Versions(), ", "))
	case have < slices.Index(Versions(), v.since):
		return fail(types.ErrIncompatibleCNIVersion, "cniVersion %s has no %s; it came with %s", q.conf.CNIVersion, v.name, v.since)
	}
	return nil
}

// readArgs reads CNI_ARGS: the pod's name, and IP; other keys, which other plugins may want, pass.
func (q *request) readArgs(args string) *types.Error {
	for pair := range strings.SplitSeq(args, ";") {
		if pair == "" {
			continue
		}
		k, v, ok := strings.Cut(pair, "=")
		if !ok {
			return fail(types.ErrInvalidEnvironmentVariables, "CNI_ARGS %q: %q is not KEY=VALUE", args, pair)
		}
		switch k {
		case "K8S_POD_NAMESPACE":
			q.podNamespace = v
		case "K8S_POD_NAME":
			q.podName = v
		case "IP":
			q.conf.RuntimeConfig.IPs = append(q.conf.RuntimeConfig.IPs, strings.Split(v, ",")...)
		}
	}
	return nil
}

// readAddresses collects the addresses asked for; a prefix length, which the conventions allow, is
// dropped: pods have single addresses.
func (q *request) readAddresses() *types.Error {
	lists := slices.Concat(q.conf.RuntimeConfig.IPs, q.conf.Args.CNI.IPs)
	annotated := q.conf.RuntimeConfig.Annotations[AddressAnnotation]
	if strings.TrimSpace(annotated) != "" {
		lists = append(lists, strings.Split(annotated, ",")...)
	}
	for _, s := range lists {
		bare, _, _ := strings.Cut(strings.TrimSpace(s), "/")
		a, err := netip.ParseAddr(bare)
		if err != nil || a.Zone() != "" {
			return fail(types.ErrInvalidNetworkConfig,
				"the requested address %q is not an IP address; annotation %s holds at most one a family, with commas between", s, AddressAnnotation)
		}
		if !slices.Contains(q.want, a.Unmap()) {
			q.want = append(q.want, a.Unmap())
		}
	}
	return nil
}

// isID follows the specification's rule for container IDs and network names.
func isID(s string) bool {
	for i := range len(s) {
		c := s[i]
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || c != '_' && c != '.' && c != '-') {
			return false
		}
	}
	return s != ""
}

// isIfName is the kernel's rule (dev_valid_name), and no '%', which it takes for a template.
func isIfName(s string) bool {
	return s != "" && len(s) <= 15 && s != "." && s != ".." && !strings.ContainsAny(s, "/:% \t\n\v\f\r\x00")
}
