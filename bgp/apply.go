package bgp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// apply brings gobgp from s.now to c: policies, then paths, then neighbours, then a fresh look at the routes
// of neighbours whose filters have changed.
func (s *Speaker) apply(ctx context.Context, c Config) []error {
	var errs []error
	if between, ok := s.loosened(c); ok {
		errs = s.apply(ctx, between)
	}
	rules := compile(c)
	for _, p := range c.Peers {
		if fams := p.withoutNextHop(); fams != nil {
			errs = append(errs, &PeerError{Peer: p.Name, Err: fmt.Errorf("nothing is announced in %v: the session has no address of that family: give the node one", fams)})
		}
	}
	s.waiting.Store(int64(c.Deferral))
	in, out := printsOf(rules.Import), printsOf(rules.Export)
	s.table.settings(c, rules.Import, func(peer netip.Addr) bool { return in.same(s.in, peer) })
	s.dismiss(c)
	s.sessions.set(c.Peers, c.passesOn())
	s.stations.Set(c.Stations)
	errs = append(errs, s.open(c)...)
	if !s.told.Swap(true) {
		signal(s.changed)
	}

	first, turned := s.now.AS == 0, s.now.passesOn() != c.passesOn()
	if first || turned || c.passesOn() && !in.equal(s.in) || !out.equal(s.out) {
		theirs := rules
		if c.passesOn() {
			// For what is passed on; the table does it for itself.
			theirs.Import = append([]rule{{From: fromExternal, Carrying: patterns([]string{GracefulShutdown}), Set: attributes{LocalPref: lowest()}}}, rules.Import...)
		} else {
			theirs.Import = rules.Import[:1] // our own
		}
		if err := s.srv.SetPolicies(ctx, policiesOf(theirs)); err != nil {
			return append(errs, fmt.Errorf("set policies: %w", err))
		}
	}
	unmoved := s.unmoved(c, out)
	errs = append(errs, s.withdrawFirst(ctx, c)...)
	errs = append(errs, s.applyPaths(c)...)
	kept, peerErrs := s.applyPeers(ctx, c)
	errs = append(errs, peerErrs...)
	for _, p := range kept {
		errs = append(errs, s.reevaluate(ctx, p, !turned && (!c.passesOn() || in.same(s.in, p.Address)), unmoved(p.Address))...)
	}
	s.now, s.rules, s.in, s.out = c, rules, in, out
	return errs
}

// prefixes are those of the paths, each once, and whether it is an aggregate.
func prefixes(paths []Path) map[netip.Prefix]bool {
	out := map[netip.Prefix]bool{}
	for _, p := range paths {
		out[p.Prefix] = out[p.Prefix] || p.Aggregate
	}
	return out
}

func (s *Speaker) applyPaths(c Config) []error {
	var errs []error
	old, wanted := prefixes(s.now.Paths), prefixes(c.Paths)
	change := func(add bool, from, notIn map[netip.Prefix]bool) {
		for prefix, aggregate := range from {
			if was, is := notIn[prefix]; is && (!add || was == aggregate) {
				continue
			}
			path, err := pathOf(c, prefix, aggregate)
			switch {
			case err != nil:
			case add:
				_, err = s.srv.AddPath(apiutil.AddPathRequest{Paths: []*apiutil.Path{path}})
			default:
				err = s.srv.DeletePath(apiutil.DeletePathRequest{Paths: []*apiutil.Path{path}})
			}
			if err != nil {
				errs = append(errs, &PathError{Prefix: prefix, Err: err})
			}
		}
	}
	change(true, wanted, old)
	change(false, old, wanted)
	return errs
}

// applyPeers removes, replaces and adds neighbours, and returns those that it left alone.
func (s *Speaker) applyPeers(ctx context.Context, c Config) (kept []Peer, errs []error) {
	before := map[netip.Addr]Peer{}
	for _, p := range s.now.Peers {
		before[p.Address] = p
	}
	wanted := map[netip.Addr]Peer{}
	for _, p := range c.Peers {
		wanted[p.Address] = p
	}
	for addr := range s.inside {
		if _, ok := wanted[addr]; !ok {
			errs = append(errs, s.remove(ctx, before[addr], true))
		}
	}
	for _, p := range c.Peers {
		old := before[p.Address]
		key, running := s.inside[p.Address]
		var err error
		switch {
		case p.Down:
			if running {
				s.sessions.flap(p.Address)
				err = s.remove(ctx, old, false)
			}
			if running || !old.Down {
				s.sessions.reset(p.Address, ReasonLinkDown, "the link to the neighbour is down")
			}
		case running && key != sessionKey(c, p) && s.mayHandOver(c, old, p):
			err = s.handOver(ctx, c, old, p)
		case running && (key != sessionKey(c, p) || s.sessions.isBarred(p.Address) && s.hasNewChance(c, p, old)):
			err = s.remove(ctx, old, old.Password != p.Password)
			s.sessions.reset(p.Address, ReasonReconfigured, "its settings have changed")
			err = errors.Join(err, s.add(ctx, c, p))
		case running && s.sessions.lost(p):
			err = s.forsake(ctx, c, p)
		case running:
			kept = append(kept, p)
		case !s.sessions.isBarred(p.Address) || s.hasNewChance(c, p, old):
			s.sessions.reset(p.Address, ReasonNone, "")
			if err = s.add(ctx, c, p); err != nil {
				s.sessions.reset(p.Address, ReasonInvalid, err.Error())
			}
		}
		if err != nil {
			errs = append(errs, &PeerError{Peer: p.Name, Err: err})
		}
	}
	return kept, slices.DeleteFunc(errs, func(e error) bool { return e == nil })
}

// hasNewChance says whether the configuration of a neighbour that is out for too many prefixes has changed so
// that it may come out otherwise.
func (s *Speaker) hasNewChance(c Config, p, old Peer) bool {
	return p.MaxPrefixes != old.MaxPrefixes || p.WarnOnly != old.WarnOnly || fmt.Sprint(p.Import) != fmt.Sprint(old.Import) || sessionKey(c, p) != sessionKey(s.now, old)
}

// add makes a neighbour known to gobgp.
func (s *Speaker) add(ctx context.Context, c Config, p Peer) error {
	return s.enter(ctx, c, p, s.outlasted(c, p))
}

// remove ends a neighbour's session with Cease and takes back its routes.
func (s *Speaker) remove(ctx context.Context, p Peer, forgetKey bool) error {
	s.hardReset(gobgp.BGP_ERROR_SUB_PEER_DECONFIGURED, p.Address)
	err := s.drop(ctx, p, forgetKey)
	s.heed(p.Address)
	s.table.silence(p.Address)
	return err
}

// drop takes a neighbour out of gobgp. forgetKey also takes its MD5 key
// off the listener, which gobgp leaves there: without it a later session without a password, or with another,
// would be refused by the kernel.
func (s *Speaker) drop(ctx context.Context, p Peer, forgetKey bool) error {
	delete(s.inside, p.Address)
	s.agenda.cancel(p.Address)
	if p.Password != "" && forgetKey {
		// An update that changes the password makes gobgp clear the key that it knows.
		bare := p
		bare.Password, bare.Passive = "", true
		if _, err := s.srv.UpdatePeer(ctx, &api.UpdatePeerRequest{Peer: peerOf(s.now, bare, nil)}); err != nil {
			s.log.Warn("MD5 key stays on the listener", "peer", p.Name, "error", err)
		}
	}
	if err := s.srv.DeletePeer(ctx, &api.DeletePeerRequest{Address: p.Address.String()}); err != nil {
		return fmt.Errorf("remove neighbour %v: %w", p.Address, err)
	}
	return nil
}

// reevaluate has gobgp look anew at a neighbour's routes where rules that concern it have changed (RFC 2918 without
// the refresh: what the neighbour sent is still known).
func (s *Speaker) reevaluate(ctx context.Context, p Peer, sameIn, sameOut bool) []error {
	var errs []error
	again := func(dir api.ResetPeerRequest_Direction, same bool) {
		if same {
			return
		}
		if err := s.soft(ctx, p.Address, dir); err != nil {
			errs = append(errs, &PeerError{Peer: p.Name, Err: err})
		}
	}
	again(api.ResetPeerRequest_DIRECTION_IN, sameIn)
	again(api.ResetPeerRequest_DIRECTION_OUT, sameOut)
	return errs
}

// soft has gobgp evaluate a neighbour's routes again, in one direction. What is to be sent waits while gobgp
// holds it back after a restart: it would go out too early, with an End-of-RIB that is not true.
func (s *Speaker) soft(ctx context.Context, peer netip.Addr, dir api.ResetPeerRequest_Direction) error {
	if until := s.sessions.heldBack(peer); dir == api.ResetPeerRequest_DIRECTION_OUT && !until.IsZero() {
		s.agenda.set(peer, softOut, until)
		return nil
	}
	if err := s.srv.ResetPeer(ctx, &api.ResetPeerRequest{Address: peer.String(), Soft: true, Direction: dir}); err != nil {
		return fmt.Errorf("soft reset of neighbour %v: %w", peer, err)
	}
	return nil
}

// performGeneral does what is on the agenda for no neighbour, if it is that.
func (s *Speaker) performGeneral(what task) bool {
	switch what {
	case deferralOver:
		signal(s.changed)
	case sweep:
		s.callers.sweep(s.sessions.there)
	default:
		return false
	}
	return true
}

// perform does what is on the agenda for one neighbour.
func (s *Speaker) perform(ctx context.Context, d appointment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.agenda.keep(d, time.Now()) || s.closed || s.srv == nil {
		return
	}
	if s.performGeneral(d.what) {
		return
	}
	i := slices.IndexFunc(s.now.Peers, func(p Peer) bool { return p.Address == d.peer })
	if i < 0 {
		return
	}
	p := s.now.Peers[i]
	_, running := s.inside[d.peer]
	var err error
	switch {
	case d.what == shutOut && running && !s.sessions.isBarred(d.peer):
		err = s.shut(ctx, p)
	case d.what == restore && running:
		err = s.remove(ctx, p, false)
		s.agenda.set(d.peer, restore, time.Now().Add(s.sessions.waits(d.peer)))
	case d.what == restore && !p.Down:
		s.sessions.reset(d.peer, ReasonNone, "")
		err = s.add(ctx, s.now, p)
	case !running:
	case d.what == prove:
		s.table.hold(d.peer, lastResort)
	case d.what == release:
		s.table.hold(d.peer, free)
	case d.what == warn:
		s.warn(p)
	case d.what == tidy:
		s.tidyUp(p)
	case d.what == refuse:
		s.sessions.bar(d.peer, ReasonBadAS, fmt.Sprintf("the neighbour has our own AS number, %d, and is configured as external: tried again in %v", p.localAS(s.now), later))
		err = s.remove(ctx, p, false)
		s.agenda.set(d.peer, restore, time.Now().Add(later))
	case d.what == introduce:
		err = s.introduce(ctx, p)
	case d.what == softOut, d.what == tell:
		err = s.soft(ctx, d.peer, api.ResetPeerRequest_DIRECTION_OUT)
	case d.what == restartOver:
		s.sessions.expire(d.peer)
	case d.what == longLivedOver:
		s.sessions.expireLong(d.peer)
	case d.what == renew:
		err = s.renew(ctx, p)
	case d.what == endStale && !s.sessions.isUp(d.peer):
		s.giveUp(d.peer)
	case d.what == endStale && !s.sessions.sweep(d.peer):
	case d.what == redial || d.what == endStale:
		err = errors.Join(s.remove(ctx, p, false), s.add(ctx, s.now, p))
	}
	if err != nil {
		s.log.Warn("BGP housekeeping failed", "peer", p.Name, "error", err)
	}
}
