package cni

import (
	"context"
	"errors"
	"fmt"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/podroute/podroute/cni/hostlink"
)

// del serves DEL. It needs nothing but the container ID and the interface name, so it does not matter
// whether the namespace is still there; what is gone already is no error.
func (s *Server) del(ctx context.Context, q *request) (*types100.Result, error) {
	name := hostlink.For(q.containerID, q.ifName).Name
	if err := s.removeLocked(ctx, name); err != nil {
		return nil, fail(types.ErrTryAgainLater, "remove interface %s of container %s: %w", q.ifName, q.containerID, err)
	}
	return nil, nil
}

func (s *Server) removeLocked(ctx context.Context, name string) error {
	unlock, err := s.locks.lock(ctx, name)
	if err != nil {
		return err
	}
	defer unlock()
	return s.remove(ctx, name)
}

// gc serves GC: it removes the network's attachments that are not in the valid set.
func (s *Server) gc(ctx context.Context, q *request) (*types100.Result, error) {
	if q.conf.Valid == nil {
		return nil, fail(types.ErrInvalidNetworkConfig, "GC needs cni.dev/valid-attachments; without it, every pod would be garbage")
	}
	valid := map[string]bool{}
	for _, a := range *q.conf.Valid {
		valid[hostlink.For(a.ContainerID, a.IfName).Name] = true
	}
	var errs []error
	for _, a := range s.table.list() {
		if valid[a.HostIf] || a.Network != hostlink.Network(q.conf.Name) {
			continue
		}
		if err := s.removeLocked(ctx, a.HostIf); err != nil {
			errs = append(errs, fmt.Errorf("interface %s of container %s: %w", a.IfName, a.ContainerID, err))
			continue
		}
		s.log.Info("removed an attachment that the runtime no longer knows", "container", a.ContainerID,
			"interface", a.IfName, "pod", a.PodNamespace+"/"+a.PodName)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fail(types.ErrTryAgainLater, "collect garbage: %w", err)
	}
	return nil, nil
}
