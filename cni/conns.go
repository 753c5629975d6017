package cni

import (
	"sync"

	"github.com/podroute/podroute/cni/internal/rtnl"
)

// idleConns is how many sockets are kept for the next calls.
const idleConns = 16

// conns lends netlink sockets in one namespace.
type conns struct {
	ns   int
	mu   sync.Mutex
	idle []*rtnl.Conn
}

func (p *conns) get() (*rtnl.Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.idle); n > 0 {
		c := p.idle[n-1]
		p.idle = p.idle[:n-1]
		return c, nil
	}
	return rtnl.DialAt(p.ns)
}

func (p *conns) put(c *rtnl.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) < idleConns {
		p.idle = append(p.idle, c)
		return
	}
	_ = c.Close()
}

func (p *conns) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.idle {
		_ = c.Close()
	}
	p.idle = nil
}
