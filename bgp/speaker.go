package bgp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/osrg/gobgp/v4/pkg/server"
	"golang.org/x/sys/unix"

	"github.com/podroute/podroute/bgp/bmp"
)

// leaveTime bounds the wait for neighbours to be told that we leave.
const leaveTime = 2 * time.Second

// Options of a Speaker.
type Options struct {
	// Log gets the sessions' ups and downs and what gobgp warns of. Required.
	Log *slog.Logger
	// Name of this router and Version of the program, for monitoring stations.
	Name, Version string
}

// Speaker is a BGP speaker. Its methods may be called from any goroutine.
type Speaker struct {
	log             *slog.Logger
	changed, events chan struct{}
	agenda          *agenda
	table           *table
	sessions        *sessions
	diallers        *diallers
	stations        *bmp.Exporter
	callers         *callers
	counter         counter

	// mu orders everything that changes the speaker.
	mu     sync.Mutex
	srv    *server.BgpServer // nil before the first Set
	stop   context.CancelFunc
	closed bool
	global string // what srv was started with
	now    Config // what srv runs
	rules  policy
	in     prints                // of rules.Import
	out    prints                // of rules.Export
	inside map[netip.Addr]string // the session keys of the neighbours in srv

	began   atomic.Int64 // when the first Set started srv, in nanoseconds; 0 before
	waiting atomic.Int64 // Config.Deferral
	synced  atomic.Bool  // as of the last Learned
	told    atomic.Bool  // who the neighbours are, and who may call, is known: before that nobody has told all
}

// New makes a speaker that does nothing yet.
func New(o Options) *Speaker {
	s := &Speaker{
		log:     o.Log,
		changed: make(chan struct{}, 1),
		events:  make(chan struct{}, 1),
		agenda:  newAgenda(),
		inside:  map[netip.Addr]string{},
	}
	s.table = newTable(s.changed, s.agenda)
	s.stations = bmp.New(bmp.Options{Log: o.Log, Source: s.table, Name: o.Name, Description: "podroute " + o.Version})
	s.table.stations = s.stations
	s.sessions = newSessions(o.Log, s.events, s.table)
	s.callers = newCallers(o.Log, s.agenda)
	s.diallers = newDiallers(o.Log, s.sessions, s.table, s.callers)
	return s
}

// Changed signals that Learned has something to tell, or that Synced may have become true.
func (s *Speaker) Changed() <-chan struct{} { return s.changed }

// SessionsChanged signals that Peers would answer otherwise than before.
func (s *Speaker) SessionsChanged() <-chan struct{} { return s.events }

// Learned returns the routes that have changed since the last call; all says that they are the whole table,
// which the first call returns, and the first after the speaker had to start anew.
func (s *Speaker) Learned() (changes []Learned, all bool) {
	complete := s.complete() // before the drain: what came with the last End-of-RIB is in it
	changes, all = s.table.drain()
	s.synced.Store(complete)
	return changes, all
}

// Synced says that routes not handed out by Learned so far are gone for good, as far as one can know: every
// neighbour has sent End-of-RIB for its families (RFC 4724 section 2), or Config.Deferral has passed since
// the start. Before that, nothing may be removed on account of being missing.
func (s *Speaker) Synced() bool { return s.synced.Load() }

func (s *Speaker) complete() bool {
	began := s.began.Load()
	if began == 0 || !s.told.Load() {
		return false
	}
	return time.Since(time.Unix(0, began)) >= time.Duration(s.waiting.Load()) || s.sessions.complete() && !s.callers.waiting()
}

// Run does what follows from events until ctx ends; then it leaves as Restart does. It must run while the
// speaker is in use.
func (s *Speaker) Run(ctx context.Context) error {
	var telling sync.WaitGroup
	telling.Go(func() { _ = s.stations.Run(ctx) }) // it ends with ctx, and for no other reason
	defer telling.Wait()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		due, next := s.agenda.list(time.Now())
		for _, d := range due {
			s.perform(ctx, d)
		}
		wait := time.Hour
		if !next.IsZero() {
			wait = max(time.Until(next), 0)
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return s.Restart(context.WithoutCancel(ctx))
		case <-timer.C:
		case <-s.agenda.wake:
		}
	}
}

// Stations are what has become of the monitoring stations.
func (s *Speaker) Stations() []bmp.State { return s.stations.States() }

// Set makes the speaker what c says. Only sessions whose negotiated settings have changed are torn. What is
// wrong with single peers and paths is left out and returned, joined, as *PeerError and *PathError.
func (s *Speaker) Set(ctx context.Context, c Config) error {
	c, errs, fatal := c.checked()
	if fatal != nil {
		return fmt.Errorf("BGP speaker: %w", fatal)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	if err := s.begin(ctx, c); err != nil {
		return fmt.Errorf("BGP speaker: %w", err)
	}
	return errors.Join(append(errs, s.apply(ctx, c)...)...)
}

// begin starts gobgp, or starts it anew where a setting has changed that it takes at its start only.
func (s *Speaker) begin(ctx context.Context, c Config) error {
	global := globalOf(c)
	if s.srv != nil {
		if s.global == global.String() {
			return nil
		}
		s.log.Warn("BGP starts anew: AS number, router ID or listen port has changed", "AS", c.AS, "router ID", c.RouterID)
		s.cease(ctx)
		s.end(ctx, &api.StopBgpRequest{})
	}
	s.told.Store(false)
	level := &slog.LevelVar{}
	routes, states := s.table.forget(), s.sessions.forget()
	srv := server.NewBgpServer(server.LoggerOption(slog.New(s.diallers.handler(routes)), level))
	watch, stop := context.WithCancel(context.WithoutCancel(ctx))
	go srv.Serve()
	if err := s.start(ctx, watch, srv, global, states); err != nil {
		stop()
		srv.Stop()
		return err
	}
	s.srv, s.stop, s.global = srv, stop, global.String()
	s.callers.forget()
	s.now, s.rules, s.in, s.out = Config{}, policy{}, prints{}, prints{}
	clear(s.inside)
	if s.began.Load() == 0 {
		s.began.Store(time.Now().UnixNano())
		s.agenda.set(netip.Addr{}, deferralOver, time.Now().Add(c.Deferral+time.Millisecond))
	}
	return nil
}

// start gets gobgp to the point where neighbours may be added: nothing passes, and every event is heard.
func (s *Speaker) start(ctx, watch context.Context, srv *server.BgpServer, global *api.Global, life int) error {
	if err := srv.StartBgp(ctx, &api.StartBgpRequest{Global: global}); err != nil {
		if errors.Is(err, unix.EADDRINUSE) {
			err = fmt.Errorf("%w: stop the other BGP daemon, or set listenPort", err)
		}
		return fmt.Errorf("start on port %d: %w", global.GetListenPort(), err)
	}
	if err := srv.SetPolicies(ctx, policiesOf(policy{})); err != nil {
		return fmt.Errorf("set policies: %w", err)
	}
	for name, dir := range map[string]api.PolicyDirection{
		importPolicy: api.PolicyDirection_POLICY_DIRECTION_IMPORT, exportPolicy: api.PolicyDirection_POLICY_DIRECTION_EXPORT,
	} {
		err := srv.SetPolicyAssignment(ctx, &api.SetPolicyAssignmentRequest{Assignment: &api.PolicyAssignment{
			Name: "global", Direction: dir, Policies: []*api.Policy{{Name: name}}, DefaultAction: api.RouteAction_ROUTE_ACTION_REJECT,
		}})
		if err != nil {
			return fmt.Errorf("assign the %s policy: %w", name, err)
		}
	}
	// One watcher for both, so that an End-of-RIB is heard after its session's start. The routes before it have been
	// heard by then: see table.hear.
	return srv.WatchEvent(watch, server.WatchEventMessageCallbacks{
		OnPeerUpdate: func(ev *apiutil.WatchEventMessage_PeerEvent, at time.Time) {
			if ev.Type == apiutil.PEER_EVENT_STATE && ev.Peer.State.SessionState == gobgp.BGP_FSM_ESTABLISHED {
				s.tellFirst(watch, srv, ev.Peer.State.NeighborAddress)
			}
			s.sessions.event(life, ev, at)
		},
		OnPathEor: func(p *apiutil.Path, _ time.Time) { s.sessions.endOfRIB(life, p); signal(s.changed) },
	}, server.WatchPeer(), server.WatchEor(false))
}

// end stops gobgp and everything that listens to it.
func (s *Speaker) end(ctx context.Context, how *api.StopBgpRequest) {
	if err := s.srv.StopBgp(ctx, how); err != nil {
		s.log.Warn("BGP did not stop cleanly", "error", err)
	}
	s.stop()
	s.srv.Stop() // what StopBgp leaves: its BFD loop
}

// Restart leaves so that neighbours keep our routes for the restart time (RFC 4724): every session's TCP
// connection closes without a NOTIFICATION. The speaker cannot be used again.
func (s *Speaker) Restart(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.srv == nil {
		s.closed = true
		return nil
	}
	s.closed = true
	// StopBgp ends one session after the other, and withdraws from those that are left what goes with each. So
	// the connections are closed first.
	hangUp(s.now, s.sessions.graceful())
	s.end(ctx, &api.StopBgpRequest{AllowGracefulRestart: true})
	return nil
}

// Leave withdraws our paths and ends every session with Cease (RFC 4486): neighbours drop our routes at once.
// The speaker cannot be used again.
func (s *Speaker) Leave(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.srv == nil {
		s.closed = true
		return nil
	}
	s.closed = true
	err := s.srv.DeletePath(apiutil.DeletePathRequest{DeleteAll: true})
	s.cease(ctx)
	s.end(ctx, &api.StopBgpRequest{})
	if err != nil {
		return fmt.Errorf("withdraw our paths: %w", err)
	}
	return nil
}

// cease ends every session with Cease, Administrative Shutdown, and waits until that is sent: StopBgp closes
// the connections that were accepted before it has been, and a neighbour that sees a connection close without
// NOTIFICATION keeps our routes.
func (s *Speaker) cease(ctx context.Context) {
	s.hardReset(gobgp.BGP_ERROR_SUB_ADMINISTRATIVE_SHUTDOWN, slices.Collect(maps.Keys(s.inside))...)
	for peer := range s.inside {
		if err := s.srv.DisablePeer(ctx, &api.DisablePeerRequest{Address: peer.String()}); err != nil {
			s.log.Warn("session is not shut down in order", "address", peer, "error", err)
		}
	}
	patience := time.After(leaveTime)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for s.sessions.anyUp() {
		select {
		case <-ctx.Done():
			return
		case <-patience:
			return
		case <-tick.C:
		}
	}
}
