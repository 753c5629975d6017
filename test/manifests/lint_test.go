package manifests

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"
)

var update = flag.Bool("update", false, "write testdata/rbac.txt anew")

// strictDecoder knows Kubernetes' own kinds and refuses unknown fields.
func strictDecoder(t *testing.T) runtime.Decoder {
	t.Helper()
	known := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, apiextensionsv1.AddToScheme} {
		if err := add(known); err != nil {
			t.Fatal(err)
		}
	}
	return serializer.NewCodecFactory(known, serializer.EnableStrict).UniversalDeserializer()
}

// of decodes the objects of one Go type.
func of[T any](t *testing.T, all objects) map[string]*T {
	t.Helper()
	decoder, found := strictDecoder(t), map[string]*T{}
	for key, o := range all {
		if strings.HasPrefix(o.GetAPIVersion(), "podroute.io/") {
			continue
		}
		v, _, err := decoder.Decode(o.yaml, nil, nil)
		if err != nil {
			t.Fatalf("%s: %v", key, err)
		}
		if typed, ok := any(v).(*T); ok {
			found[key] = typed
		}
	}
	return found
}

// TestRights lists all that podroute may do in a cluster: a change here is a change of the golden.
func TestRights(t *testing.T) {
	t.Parallel()
	all := kustomize(t, "testdata/passwords")
	var lines []string
	note := func(where string, rules []rbacv1.PolicyRule) {
		for _, r := range rules {
			for _, group := range r.APIGroups {
				for _, resource := range r.Resources {
					line := strings.Trim(group+"/"+resource, "/")
					if len(r.ResourceNames) > 0 {
						line += " " + fmt.Sprint(r.ResourceNames)
					}
					lines = append(lines, where+": "+line+": "+strings.Join(r.Verbs, " "))
				}
			}
		}
	}
	for _, r := range of[rbacv1.ClusterRole](t, all) {
		note("everywhere", r.Rules)
	}
	for _, r := range of[rbacv1.Role](t, all) {
		note("in "+r.Namespace, r.Rules)
	}
	slices.Sort(lines)
	got := strings.Join(lines, "\n") + "\n"
	const golden = "testdata/rbac.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("rights differ from %s (-update writes it anew):\n%s", golden, diff)
	}
	if strings.Contains(got, "*") {
		t.Errorf("a wildcard:\n%s", got)
	}
}

// TestPods: what every pod of ours must and must not have.
func TestPods(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{deploy + "/base", deploy + "/prepull"} {
		sets := of[appsv1.DaemonSet](t, kustomize(t, dir))
		if len(sets) != 1 {
			t.Fatalf("%s: %d DaemonSets", dir, len(sets))
		}
		for _, ds := range sets {
			pod := ds.Spec.Template.Spec
			if !pod.HostNetwork || pod.HostPID || pod.HostIPC {
				t.Errorf("%s: of the host's namespaces it needs the network's and no other", ds.Name)
			}
			if !slices.ContainsFunc(pod.Tolerations, func(x corev1.Toleration) bool {
				return x.Operator == corev1.TolerationOpExists && x.Key == "" && x.Effect == ""
			}) {
				t.Errorf("%s: a taint keeps it away", ds.Name)
			}
			for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
				for _, problem := range lint(c) {
					t.Errorf("%s: %s: %s", ds.Name, c.Name, problem)
				}
			}
		}
	}
}

// lint names what is wrong with a container.
func lint(c corev1.Container) (problems []string) {
	name, tag, _ := strings.Cut(c.Image[strings.LastIndex(c.Image, "/")+1:], ":")
	if tag == "" || tag == "latest" {
		problems = append(problems, "image "+name+" has no version")
	}
	s := c.SecurityContext
	switch {
	case s == nil || s.Capabilities == nil || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}):
		problems = append(problems, "it keeps capabilities that it does not ask for")
	case s.Privileged != nil && *s.Privileged:
		problems = append(problems, "it is privileged")
	case s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation:
		problems = append(problems, "it may gain privileges")
	case s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem:
		problems = append(problems, "its root is writable")
	}
	if len(c.Resources.Requests) != 2 || c.Resources.Limits.Memory().IsZero() {
		problems = append(problems, "it requests no CPU and memory, or has no limit of memory")
	}
	for _, p := range c.Ports {
		// On the host's network a containerPort is a port of the host.
		problems = append(problems, fmt.Sprintf("it takes port %d of the host, which RouterConfig may change", p.ContainerPort))
	}
	for _, p := range []*corev1.Probe{c.StartupProbe, c.LivenessProbe, c.ReadinessProbe} {
		if p != nil && (p.HTTPGet == nil || p.HTTPGet.Host != "127.0.0.1") {
			problems = append(problems, "a probe reaches beyond the host")
		}
	}
	return problems
}
