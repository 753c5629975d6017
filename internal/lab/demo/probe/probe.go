package probe

import (
	"fmt"
	"io"
	"net/netip"
	"net/rpc"
	"net/rpc/jsonrpc"
	"sync"
	"time"
)

// Node is the name, among names of pods, of the node itself.
const Node = ""

// Probe serves the calls; see Client for what they do.
type Probe struct {
	mu       sync.Mutex
	captures *capture
	pings    map[string]*pinger
}

// Serve answers calls until in ends.
func Serve(in io.ReadCloser, out io.WriteCloser) error {
	s := rpc.NewServer()
	if err := s.Register(&Probe{pings: map[string]*pinger{}}); err != nil {
		return err
	}
	s.ServeCodec(jsonrpc.NewServerCodec(stream{in, out}))
	return nil
}

// stream joins a process's two ends into one connection.
type stream struct {
	io.ReadCloser
	io.WriteCloser
}

func (s stream) Close() error {
	_ = s.ReadCloser.Close()
	return s.WriteCloser.Close()
}

// Pod is a pod to wire, and a wired one when it has Addresses.
type Pod struct {
	Name      string
	Addresses []netip.Addr
	Took      time.Duration // of the plugin's ADD
}

// WireArgs name the pods to wire, and the folders that hold plugins.
type WireArgs struct {
	Pods    []string
	Plugins []string
}

// Dial is one question to an echo server: From a pod (or Node) to an address. The nonce goes into the
// packets, both ways.
type Dial struct {
	From  string
	To    netip.Addr
	Nonce string
}

// Answer to a Dial. Local is the client's own address, Seen the one that the server saw.
type Answer struct {
	Local, Seen netip.Addr
	Error       string
}

// Flow of a ping: a probe each 10 ms, Phase after each multiple of that.
type Flow struct {
	ID    string
	From  string
	To    netip.Addr
	Phase time.Duration
}

// Tally of a ping. Gap is the longest time between two answered probes with lost ones in between.
type Tally struct {
	Sent, Lost int
	Gap        time.Duration
}

// Sighting counts captured packets that held a nonce, by their outermost IP header.
type Sighting struct {
	Nonce            string
	Source, Dest     netip.Addr
	Protocol, Frames int
}

// Capture is what was seen. Frames counts all that were looked at.
type Capture struct {
	Frames    int
	Sightings []Sighting
}

// Routes lists the destinations in the node's main routing table.
func (*Probe) Routes(_ struct{}, out *[]netip.Prefix) (err error) {
	*out, err = mainTable()
	return err
}

// DeleteRoutes deletes the node's routes of a protocol and counts them.
func (*Probe) DeleteRoutes(protocol int, out *int) (err error) {
	*out, err = deleteRoutes(protocol)
	return err
}

// Wire makes a network namespace for each pod, lets the plugin wire it, and starts an echo server in
// each and on the node.
func (p *Probe) Wire(args WireArgs, out *[]Pod) error {
	if err := serveEcho(Node); err != nil {
		return err
	}
	for _, name := range args.Pods {
		pod, err := wire(name, args.Plugins)
		if err == nil {
			err = serveEcho(name)
		}
		if err != nil {
			return fmt.Errorf("pod %s: %w", name, err)
		}
		*out = append(*out, pod)
	}
	return nil
}

// Dials asks many questions, some at a time. Errors stand in the answers.
func (*Probe) Dials(args []Dial, out *[]Answer) error {
	answers := make([]Answer, len(args))
	var wg sync.WaitGroup
	places := make(chan struct{}, 4)
	for i, d := range args {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			a, err := d.ask()
			if err != nil {
				a.Error = err.Error()
			}
			answers[i] = a
		})
	}
	wg.Wait()
	*out = answers
	return nil
}

// CaptureStart begins to listen on links of the node.
func (p *Probe) CaptureStart(links []string, _ *struct{}) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	c, err := startCapture(links)
	if err == nil {
		p.captures = c
	}
	return err
}

// CaptureStop ends listening. Packets that the kernel had to drop are an error.
func (p *Probe) CaptureStop(_ struct{}, out *Capture) (err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	*out, err = p.captures.stop()
	return err
}

// PingStart starts a ping.
func (p *Probe) PingStart(f Flow, _ *struct{}) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	g, err := startPing(f)
	if err == nil {
		p.pings[f.ID] = g
	}
	return err
}

// PingStop ends a ping, waits for late answers, and counts.
func (p *Probe) PingStop(id string, out *Tally) error {
	p.mu.Lock()
	g := p.pings[id]
	delete(p.pings, id)
	p.mu.Unlock()
	if g == nil {
		return fmt.Errorf("no ping %q", id)
	}
	*out = g.stop()
	return nil
}
