package cni

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/podroute/podroute/cni/hostlink"
)

// maxAlias is the longest link alias that the kernel keeps, in bytes (IFALIASZ less one).
const maxAlias = 255

// aliasMagic opens every alias of ours and names the version of its form.
const aliasMagic = "podroute/1"

// alias renders an attachment as its link's alias, the journal:
//
//	podroute/1 id=<container ID> if=<interface> net=<network> ip=<address>[,<address>] at=<unix seconds> pod=<namespace>/<name>
//
// Only the pod's name, which is for people, is cut to fit, and then ends in "~".
func (a Attachment) alias() string {
	ips := make([]string, len(a.Addresses))
	for i, addr := range a.Addresses {
		ips[i] = addr.String()
	}
	s := fmt.Sprintf("%s id=%s if=%s net=%s ip=%s at=%d pod=", aliasMagic,
		a.ContainerID, a.IfName, a.Network, strings.Join(ips, ","), a.Since.Unix())
	s += plain(a.PodNamespace) + "/" + plain(a.PodName)
	if len(s) > maxAlias {
		s = s[:maxAlias-1] + "~"
	}
	return s
}

// plain replaces what cannot be in the name of a Kubernetes object, and could be mistaken for syntax.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '.', r == '_':
			return r
		}
		return '_'
	}, s)
}

// parseAlias reads what alias wrote on the link of that name. Anything less than a whole entry that
// belongs to this very link is an error.
func parseAlias(link, alias string) (Attachment, error) {
	rest, ok := strings.CutPrefix(alias, aliasMagic+" ")
	if !ok {
		return Attachment{}, fmt.Errorf("link %s: alias %q is not podroute's", link, alias)
	}
	var a Attachment
	var at, ips, pod string
	want := []struct {
		key string
		to  *string
	}{{"id", &a.ContainerID}, {"if", &a.IfName}, {"net", &a.Network}, {"ip", &ips}, {"at", &at}, {"pod", &pod}}
	words := strings.Split(rest, " ")
	if len(words) != len(want) {
		return Attachment{}, fmt.Errorf("link %s: alias %q is not whole", link, alias)
	}
	for i, w := range want {
		v, ok := strings.CutPrefix(words[i], w.key+"=")
		if !ok {
			return Attachment{}, fmt.Errorf("link %s: alias %q has no %s where it is due", link, alias, w.key)
		}
		*w.to = v
	}
	a.HostIf = hostlink.For(a.ContainerID, a.IfName).Name
	if a.HostIf != link {
		return Attachment{}, fmt.Errorf("link %s: alias %q belongs to %s", link, alias, a.HostIf)
	}
	for s := range strings.SplitSeq(ips, ",") {
		addr, err := netip.ParseAddr(s)
		if err != nil || addr.Zone() != "" {
			return Attachment{}, fmt.Errorf("link %s: alias %q: bad address %q", link, alias, s)
		}
		a.Addresses = append(a.Addresses, addr)
	}
	sec, err := strconv.ParseInt(at, 10, 64)
	if err != nil {
		return Attachment{}, fmt.Errorf("link %s: alias %q: bad time: %w", link, alias, err)
	}
	a.Since = time.Unix(sec, 0)
	a.PodNamespace, a.PodName, _ = strings.Cut(pod, "/")
	return a, nil
}
