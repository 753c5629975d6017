package agent

import (
	"testing"

	"github.com/podroute/podroute/cni"
	"github.com/podroute/podroute/config"
)

// Labels of the sibling packages that must say the same.
func TestAddressAnnotation(t *testing.T) {
	t.Parallel()
	if cni.AddressAnnotation != config.AnnotationAddresses {
		t.Errorf("package cni reads %s, package config documents %s", cni.AddressAnnotation, config.AnnotationAddresses)
	}
}
