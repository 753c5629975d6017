package agent

import (
	"maps"
	"time"

	"github.com/podroute/podroute/config"
)

// changeTime is how long the sessions of a mesh that has changed stay beside those of the new one: until every node
// has heard of the change and has the routes that the new sessions bring.
const changeTime = 20 * time.Second

// meshPlan says which nodes have sessions with one another, and who of them reflects.
type meshPlan struct {
	mesh       config.Mesh
	reflectors map[string]bool // names of nodes
}

func planOf(s config.Snapshot) meshPlan {
	p := meshPlan{mesh: s.Router.Spec.Mesh, reflectors: map[string]bool{}}
	for _, n := range s.Nodes {
		if s.IsReflector(n) {
			p.reflectors[n.Name] = true
		}
	}
	return p
}

func (p meshPlan) equal(q meshPlan) bool {
	return p.mesh == q.mesh && maps.Equal(p.reflectors, q.reflectors)
}

// joins tells whether two nodes have a session.
func (p meshPlan) joins(a, b string) bool {
	switch p.mesh {
	case config.MeshFull:
		return true
	case config.MeshReflectors:
		return p.reflectors[a] || p.reflectors[b]
	}
	return false
}

// meshChange is the plan that is in force, and the one before for as long as its sessions stay.
type meshChange struct {
	now    meshPlan
	before *meshPlan
	until  time.Time
}

// set takes in the plan of a new configuration and returns the one before, if its sessions are to stay.
func (c *meshChange) set(p meshPlan, at time.Time) *meshPlan {
	switch {
	case c.now.mesh == "":
		c.now = p
	case !c.now.equal(p):
		before := c.now
		c.now, c.before, c.until = p, &before, at.Add(changeTime)
	case c.before != nil && !at.Before(c.until):
		c.before = nil
	}
	return c.before
}

// over tells whether a change has just come to its end.
func (c *meshChange) over(at time.Time) bool { return c.before != nil && !at.Before(c.until) }
