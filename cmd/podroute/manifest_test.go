package main

import (
	"os"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/yaml"
)

// The containers of the DaemonSet are started as this program can be.
func TestManifestArguments(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../deploy/base/daemonset.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var ds appsv1.DaemonSet
	if err := yaml.UnmarshalStrict(text, &ds); err != nil {
		t.Fatal(err)
	}
	pod := ds.Spec.Template.Spec
	for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
		command, rest, err := newRoot().Find(c.Args)
		if err != nil {
			t.Errorf("%s: %v", c.Name, err)
			continue
		}
		if err := command.ParseFlags(rest); err != nil {
			t.Errorf("%s: podroute %s: %v", c.Name, command.Name(), err)
		}
		if err := command.ValidateArgs(command.Flags().Args()); err != nil {
			t.Errorf("%s: podroute %s: %v", c.Name, command.Name(), err)
		}
	}
}
