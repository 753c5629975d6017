package crds

import (
	"fmt"
	"strings"
	"testing"
)

// TestChange changes what must not change, and what may.
func TestChange(t *testing.T) {
	t.Parallel()
	kinds := load(t)
	for _, c := range []struct {
		kind, name, before, after, refusal string
	}{
		{"AddressPool", "a", "{cidr: 10.0.0.0/16}", "{cidr: 10.1.0.0/16}", "must not change"},
		{"AddressPool", "a", "{cidr: 10.0.0.0/16}", "{cidr: 10.0.0.0/16, blockSize: 27}", "must not change"},
		{"AddressPool", "a", "{cidr: 10.0.0.0/16, blockSize: 27}", "{cidr: 10.0.0.0/16}", "must not change"},
		{"AddressPool", "a", "{cidr: 10.0.0.0/16, blockSize: 27}", "{cidr: 10.0.0.0/16, blockSize: 27, disabled: true}", ""},
		{"AddressPool", "a", "{cidr: 10.0.0.0/16}", "{cidr: 10.0.0.0/16, exclusions: [10.0.1.0/24]}", ""},
		{"AddressPool", "a", "{cidr: 10.0.0.0/16, use: loadBalancers}", "{cidr: 10.0.0.0/16}", "must not change"},
		{"AddressPool", "a", "{cidr: 10.0.0.0/16}", "{cidr: 10.0.0.0/16, use: loadBalancers}", "must not change"},
		{"AddressPool", "a", "{cidr: 10.0.0.0/16}", "{cidr: 10.0.0.0/16, use: pods}", ""},
		{"AddressPool", "a", "{cidr: 10.0.0.0/32, use: loadBalancers}", "{cidr: 10.0.0.0/32, use: loadBalancers, disabled: true}", ""},
		{"AddressBlock", "10-0-0-0-26", "{cidr: 10.0.0.0/26, node: a}", "{cidr: 10.0.0.0/26, node: b}", "must not change"},
		{"AddressPool", "a", "{cidr: 10.0.0.0/16}", "{cidr: 10.0.0.0/16, blockSize: 26}", ""},
		{"AddressPool", "a", "{cidr: 10.0.0.0/28}", "{cidr: 10.0.0.0/28, blockSize: 28}", ""},
		{"AddressPool", "a", "{cidr: 'fd00::/64', blockSize: 122}", "{cidr: 'fd00::/64'}", ""},
		{"AddressBlock", "10-0-0-0-26", "{cidr: 10.0.0.0/26, node: a}", "{cidr: 10.0.0.0/26, topologyValue: a}", "must not change"},
		{"AddressBlock", "10-0-0-0-26", "{cidr: 10.0.0.0/26, node: a}", "{cidr: 10.0.0.0/26, node: a, pool: p}", ""},
		{"BGPPeer", "a", "{address: 192.0.2.1, asNumber: 65001}", "{address: 192.0.2.2, asNumber: internal}", ""},
		{"RouterConfig", "default", "{asNumber: 65001}", "{asNumber: 65002, podSubnets: Pool}", ""},
	} {
		object := func(spec string) map[string]any {
			return documents(t, fmt.Sprintf("apiVersion: podroute.io/v1alpha1\nkind: %s\nmetadata: {name: %s}\nspec: %s\n", c.kind, c.name, spec))[0]
		}
		got := strings.Join(kinds[c.kind].refusals(t, object(c.after), object(c.before)), "\n")
		if c.refusal == "" && got != "" || c.refusal != "" && !strings.Contains(got, c.refusal) {
			t.Errorf("%s: %s → %s: %q, want %q", c.kind, c.before, c.after, got, c.refusal)
		}
	}
}
