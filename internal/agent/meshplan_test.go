package agent

import (
	"testing"
	"time"

	"github.com/podroute/podroute/config"
)

// The sessions of the mesh before stay for a while, whatever changes meanwhile.
func TestMeshChange(t *testing.T) {
	t.Parallel()
	full := meshPlan{mesh: config.MeshFull}
	few := meshPlan{mesh: config.MeshReflectors, reflectors: map[string]bool{"a": true}}
	others := meshPlan{mesh: config.MeshReflectors, reflectors: map[string]bool{"b": true}}
	var c meshChange
	now := time.Now()
	for i, step := range []struct {
		plan   meshPlan
		after  time.Duration // since the step before
		before *meshPlan
	}{
		{full, 0, nil}, // the first
		{full, time.Second, nil},
		{few, time.Second, &full},
		{few, changeTime - time.Second, &full},
		{few, 2 * time.Second, nil},
		{others, time.Second, &few},
		{full, time.Second, &others},
		{full, changeTime, nil},
	} {
		now = now.Add(step.after)
		got := c.set(step.plan, now)
		if (got == nil) != (step.before == nil) || got != nil && !got.equal(*step.before) {
			t.Errorf("step %d: before is %v, want %v", i, got, step.before)
		}
	}
	if few.joins("b", "c") || !few.joins("a", "c") || !full.joins("b", "c") || (meshPlan{mesh: config.MeshNone}).joins("a", "b") {
		t.Error("joins")
	}
}
