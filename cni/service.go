package cni

import (
	"bytes"
	"context"
	"errors"
	"net"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/podroute/podroute/cni/cnipb"
)

// service answers the plugin: it judges requests, and turns errors into those of the specification.
type service struct{ s *Server }

func (v *service) Add(ctx context.Context, r *cnipb.Request) (*cnipb.Response, error) {
	return v.answer(ctx, verb{"ADD", "0.3.1", true}, r, v.s.add)
}

func (v *service) Del(ctx context.Context, r *cnipb.Request) (*cnipb.Response, error) {
	return v.answer(ctx, verb{"DEL", "0.3.1", true}, r, v.s.del)
}

func (v *service) Check(ctx context.Context, r *cnipb.Request) (*cnipb.Response, error) {
	return v.answer(ctx, verb{"CHECK", "0.4.0", true}, r, v.s.check)
}

func (v *service) Status(ctx context.Context, r *cnipb.Request) (*cnipb.Response, error) {
	return v.answer(ctx, verb{"STATUS", "1.1.0", false}, r, v.s.status)
}

func (v *service) GC(ctx context.Context, r *cnipb.Request) (*cnipb.Response, error) {
	return v.answer(ctx, verb{"GC", "1.1.0", false}, r, v.s.gc)
}

type handler func(context.Context, *request) (*types100.Result, error)

// answer never fails itself: a failed call would mean to the plugin that there is no agent. Failures
// are logged here, because the other process that they go to is not ours to read.
func (v *service) answer(ctx context.Context, vb verb, r *cnipb.Request, do handler) (*cnipb.Response, error) {
	q, bad := judge(vb, r)
	if bad != nil {
		return v.refuse(vb, r, bad), nil
	}
	result, err := do(ctx, q)
	if err != nil {
		return v.refuse(vb, r, err), nil
	}
	if result == nil {
		return &cnipb.Response{}, nil
	}
	versioned, err := result.GetAsVersion(q.conf.CNIVersion)
	if err != nil {
		return v.refuse(vb, r, err), nil
	}
	var out bytes.Buffer
	if err := versioned.PrintTo(&out); err != nil {
		return v.refuse(vb, r, err), nil
	}
	return &cnipb.Response{Result: out.Bytes()}, nil
}

func (v *service) refuse(vb verb, r *cnipb.Request, err error) *cnipb.Response {
	var e *types.Error
	if !errors.As(err, &e) {
		e = types.NewError(types.ErrInternal, err.Error(), "")
	}
	v.s.log.Warn("CNI request failed", "command", vb.name, "container", r.GetContainerId(), "interface", r.GetIfName(),
		"args", r.GetArgs(), "code", e.Code, "err", e.Msg)
	return &cnipb.Response{Error: &cnipb.Error{Code: uint32(e.Code), Msg: e.Msg, Details: e.Details}}
}

// status fails with code 50 while ADD cannot be served. A full subnet is no such case: it fails ADD
// with its reason, where a failing STATUS would make the whole node not ready.
func (s *Server) status(context.Context, *request) (*types100.Result, error) {
	if why := s.current().NotReady; why != nil {
		return nil, fail(types.ErrPluginNotAvailable, "pods cannot be added: %w", why)
	}
	return nil, nil
}

// result is what ADD prints.
func result(q *request, e entry, mac, podMAC net.HardwareAddr, mtu int) *types100.Result {
	inPod := 1
	r := &types100.Result{
		CNIVersion: types100.ImplementedSpecVersion,
		Interfaces: []*types100.Interface{
			{Name: e.HostIf, Mac: mac.String(), Mtu: mtu},
			{Name: e.IfName, Mac: podMAC.String(), Mtu: mtu, Sandbox: q.netns},
		},
		DNS: q.conf.DNS,
	}
	for _, a := range e.Addresses {
		gw := net.IP(gateway(a).AsSlice())
		r.IPs = append(r.IPs, &types100.IPConfig{Interface: &inPod, Address: ipNet(host(a)), Gateway: gw})
		r.Routes = append(r.Routes, &types.Route{Dst: ipNet(defaultRoute(a)), GW: gw})
	}
	return r
}
