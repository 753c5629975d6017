package agent

import (
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podroute/podroute/bgp"
	"github.com/podroute/podroute/config"
)

// A report costs a write to the API on each of maybe thousands of nodes. So what matters is reported at once,
// or, where it keeps changing, ever more seldom; and numbers that only drift, now and then.
const (
	lookEvery   = time.Second      // while something is about to be decided or said
	calmEvery   = 10 * time.Second // else: what matters wakes the reporter
	lookBound   = 10 * time.Second // of one look
	gapLeast    = 2 * time.Second  // between two reports
	gapMost     = time.Minute
	driftEvery  = 5 * time.Minute
	problemsMax = 20 // in one report
	// healthSpread is over how long the agents of a cluster spread what they say of the same dead neighbour: a mesh of 1,000 nodes
	// writes 100 times a second then.
	healthSpread = 10 * time.Second
)

// report watches this node and tells the cluster of it, until ctx ends.
func (a *Agent) report(ctx context.Context) error {
	if a.Cluster == nil {
		return nil
	}
	r := reporter{agent: a, pace: newPace()}
	if a.restarted {
		_, patience, _ := a.Source.Snapshot().Router.Spec.Restart()
		r.readiness.grace = a.started.Add(max(patience, unreadyAfter))
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		case <-a.stirred:
		}
		r.turn(ctx)
		if r.settled() {
			timer.Reset(calmEvery)
		} else {
			timer.Reset(lookEvery)
		}
	}
}

// stir has the reporter look at once.
func (a *Agent) stir() { signal(a.stirred) }

// reporter is the state of the goroutine that reports.
type reporter struct {
	agent     *Agent
	readiness readiness
	sessions  sessionHealth
	pace      pace
	failed    bool // the last look failed
}

// settled tells whether nothing but an event can change what is said.
func (r *reporter) settled() bool {
	return !r.failed && !r.sessions.young && !r.pace.waiting && r.readiness.now == ready && r.readiness.failing.IsZero()
}

// turn looks at the node and reports what is worth it. A look that fails is said once: the loop may be busy.
func (r *reporter) turn(ctx context.Context) {
	a := r.agent
	ctx, cancel := context.WithTimeout(ctx, lookBound)
	defer cancel()
	now := time.Now()
	if a.left.Load() {
		r.hand(ctx, now, config.NodeReport{Reason: reasonLeft, Message: "podroute has left this node, whose pods reach no other node: " +
			"delete its agent's pod to bring the node back"})
		return
	}
	report, err := r.look(ctx, now)
	if err != nil {
		if !r.failed && ctx.Err() == nil {
			a.Log.Warn("this node's state cannot be reported; trying again", "err", err)
		}
		r.failed = true
		return
	}
	r.failed = false
	report.Draining = a.draining()
	r.hand(ctx, now, report)
}

// look gathers all there is to report. The sessions are read after the loop has had its first turn, which tells the speaker of them:
// before that there are none.
func (r *reporter) look(ctx context.Context, now time.Time) (config.NodeReport, error) {
	a := r.agent
	if err := a.view(ctx, func(*loop) {}); err != nil {
		return config.NodeReport{}, err
	}
	peers, err := a.speaker.Peers(ctx)
	if err != nil {
		return config.NodeReport{}, fmt.Errorf("read the sessions: %w", err)
	}
	var report config.NodeReport
	shared := a.Source.Snapshot().Problems
	err = a.view(ctx, func(l *loop) {
		e := a.evidence(l, peers)
		report.Sessions = r.sessions.next(now, e)
		strict := e.judge(false)
		switch r.readiness.next(now, strict, e.judge(true)) {
		case ready:
			report.Ready, report.Reason, report.Message = true, reasonReady, "podroute routes this node's pods"
		case undecided:
			report.Undecided = true
			fallthrough
		case notReady:
			report.Reason, report.Message = strict.Reason, strict.Message
			if strict.holds() {
				report.Reason, report.Message = reasonSyncing, fmt.Sprintf("the readiness policy holds again; waiting for %v of it", againAfter)
			}
		}
		report.Routing = a.routing(l, peers, shared)
	})
	return report, err
}

// hand reports, if that is worth it now. Only then the kernel is asked how many routes it holds: a look
// makes do with what should be there.
func (r *reporter) hand(ctx context.Context, now time.Time, report config.NodeReport) {
	if !r.pace.due(now, report) {
		return
	}
	if n, err := r.agent.installed(ctx); err != nil {
		r.agent.Log.Warn("the number of routes is reported as it should be, not as it is", "err", err)
	} else {
		report.Routing.InstalledRoutes = n
	}
	r.agent.Cluster.Report(report)
}

// routing is what is published of this node. Problems that every node has, shared ones, are said where they
// belong, on the objects concerned, and not by each node again.
func (a *Agent) routing(l *loop, peers []bgp.PeerState, shared []config.Problem) config.NodeRoutingStatus {
	d := &l.desired
	out := config.NodeRoutingStatus{
		Role: d.Role, ASNumber: d.AS, Version: a.Version, Pods: int32(len(a.pods.Attachments())),
		InstalledRoutes: int32(len(d.Local) + len(l.learned)),
	}
	if d.RouterID.IsValid() {
		out.RouterID = d.RouterID.String()
	}
	for _, addr := range d.Addresses {
		out.Addresses = append(out.Addresses, addr.String())
	}
	for _, u := range a.blocks.Usage() {
		out.Blocks = append(out.Blocks, config.BlockStatus{
			CIDR: u.Prefix.String(), Used: int64(u.Used), CoolingDown: int64(u.CoolingDown), Size: int64(min(u.Size, 1<<53)),
		})
	}
	alive := a.bfdStates()
	for _, p := range peers {
		if p.State == config.SessionEstablished {
			out.Established++
		}
		s := sessionStatus(p)
		if b := alive[p.Name]; b != nil && !b.GetOff() {
			s.BFD = b.GetState()
		}
		out.Sessions = append(out.Sessions, s)
	}
	everyones := map[config.Problem]bool{}
	for _, p := range shared {
		everyones[p] = p.Object != "Node/"+a.NodeName
	}
	for _, p := range a.problems(l) {
		if !everyones[p] {
			out.Problems = append(out.Problems, p.Error())
		}
	}
	if n := len(out.Problems); n > problemsMax {
		out.Problems = append(out.Problems[:problemsMax], fmt.Sprintf("%d more; podroute status on the node names them all", n-problemsMax))
	}
	return out
}

func sessionStatus(p bgp.PeerState) config.SessionStatus {
	s := config.SessionStatus{
		Peer: p.Name, Address: p.Address.String(), ASNumber: p.AS, State: p.State, LastError: p.LastError,
		Warnings: p.Warnings, Flaps: int32(p.Flaps), LastDown: p.LastDown,
	}
	if !p.Since.IsZero() {
		s.Since = &metav1.Time{Time: p.Since.Truncate(time.Second)}
	}
	if !p.LastDownAt.IsZero() {
		s.LastDownTime = &metav1.Time{Time: p.LastDownAt.Truncate(time.Second)}
	}
	for _, f := range p.Families {
		s.Families = append(s.Families, config.SessionFamily{
			Family: f.String(), Received: int32(p.Received[f]), Accepted: int32(p.Accepted[f]), Advertised: int32(p.Advertised[f]),
		})
	}
	return s
}

// pace says when to report.
type pace struct {
	last config.NodeReport
	at   time.Time // of the last report; zero: there was none
	gap  time.Duration
	// waiting: something matters and has to wait for the gap, or for its turn.
	waiting bool
	// delay is this agent's: see healthSpread. uneasy is since when the sessions' health is another than was reported.
	delay  time.Duration
	uneasy time.Time
}

func newPace() pace { return pace{delay: rand.N(healthSpread)} }

// due tells whether a report is worth it at a time, and takes it for done if so. A change of readiness is
// reported at once, what else matters after a gap that grows as long as changes keep coming, and what drifts every
// driftEvery. Where nothing but the sessions' health has changed, that waits for the agent's delay, so that those who have all lost
// the same neighbour do not write at once; what matters meanwhile takes it along, and what was but for a moment is never written.
func (p *pace) due(now time.Time, r config.NodeReport) bool {
	urgent := p.at.IsZero() || r.Ready != p.last.Ready || r.Undecided != p.last.Undecided
	since := now.Sub(p.at)
	is, was := essence(r), essence(p.last)
	health := !reflect.DeepEqual(is.Sessions, was.Sessions)
	is.Sessions, was.Sessions = nil, nil
	other := urgent || !reflect.DeepEqual(is, was)
	switch {
	case !health:
		p.uneasy = time.Time{}
	case p.uneasy.IsZero():
		p.uneasy = now
	}
	matters := other || health
	p.waiting = matters && !urgent && (since < max(p.gap, gapLeast) || !other && now.Sub(p.uneasy) < p.delay)
	switch {
	case p.waiting:
		return false
	case urgent:
		p.gap = gapLeast
	case matters:
		if since < 4*p.gap {
			p.gap = min(2*p.gap, gapMost)
		} else {
			p.gap = gapLeast
		}
	case since < driftEvery || reflect.DeepEqual(lasting(r), lasting(p.last)):
		return false
	}
	p.last, p.at, p.uneasy = r, now, time.Time{}
	return true
}

// lasting is a report without what changes while nothing happens: an unreachable peer is dialled for ever,
// in turns of Connect and Active.
func lasting(r config.NodeReport) config.NodeReport {
	s := slices.Clone(r.Routing.Sessions)
	for i := range s {
		if s[i].State != config.SessionEstablished {
			s[i].State, s[i].Since = "", nil
		}
	}
	r.Routing.Sessions = s
	return r
}

// essence is what of a report matters at once: no counts, and of the reasons for a session's end only whether
// there is one.
func essence(r config.NodeReport) config.NodeReport {
	r = lasting(r)
	r.Message = ""
	if s := r.Sessions; s != nil {
		r.Sessions = &config.Sessions{Healthy: s.Healthy, Undecided: s.Undecided, Reason: s.Reason, Concerned: s.Concerned}
	}
	n := &r.Routing
	n.Pods, n.InstalledRoutes = 0, 0
	n.Blocks = slices.Clone(n.Blocks)
	for i := range n.Blocks {
		n.Blocks[i].Used, n.Blocks[i].CoolingDown = 0, 0
	}
	for i := range n.Sessions { // lasting has made a copy
		s := &n.Sessions[i]
		s.Families = slices.Clone(s.Families)
		for j := range s.Families {
			s.Families[j] = config.SessionFamily{Family: s.Families[j].Family}
		}
		if s.LastError != "" {
			s.LastError = "some"
		}
		s.Flaps, s.LastDown, s.LastDownTime = 0, "", nil
		if len(s.Warnings) > 0 {
			s.Warnings = []string{"some"}
		}
	}
	return r
}
