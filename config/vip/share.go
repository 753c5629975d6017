package vip

import (
	"fmt"
	"slices"

	"github.com/podroute/podroute/config"
)

// apart says why two Services cannot have one address, and what to do about it; empty: they can.
func apart(a, b *Service) string {
	if a.Namespace != b.Namespace || a.Request.Key == "" || a.Request.Key != b.Request.Key {
		return "give both the same annotation " + config.AnnotationSharingKey + ", in one namespace, or ask for another address"
	}
	for _, p := range a.Ports {
		if slices.Contains(b.Ports, p) {
			return fmt.Sprintf("both have the port %s %d: change it, or ask for another address", p.Protocol, p.Number)
		}
	}
	switch {
	case a.Local != b.Local:
		return "their externalTrafficPolicy differs: make it the same"
	case a.Local && (a.Selector == "" || a.Selector != b.Selector):
		return "with externalTrafficPolicy Local they have to select the same pods: use Cluster, or another address"
	}
	return ""
}

// rival is the first of an address's users that a Service cannot share it with, nil where there is none.
func rival(s *Service, users []*Service) *Service {
	i := slices.IndexFunc(users, func(o *Service) bool { return o.Key() != s.Key() && apart(s, o) != "" })
	if i < 0 {
		return nil
	}
	return users[i]
}
