package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/podroute/podroute/config"
)

// The collector gives back the blocks of nodes that are gone: those whose Node object does not exist, of which
// the network has no route, and both without a break for RouterConfig's blockQuarantine. A Node object may be
// deleted while the machine and its pods live on, so the object alone says nothing; this is also why blocks
// have no ownerReferences. Since when it has been so stands on the block: another leader goes on from there.

// Bounds of the time between two rounds, which is a tenth of the quarantine.
const (
	collectOften  = 5 * time.Second
	collectSeldom = 10 * time.Minute
)

// KnowRoutes tells the collector how to find out whether the network has a route to a block or to a part of it.
// Without it, or when it fails, nothing is collected.
func (s *Source) KnowRoutes(known func(ctx context.Context, block netip.Prefix) (bool, error)) {
	s.routes.Store(&known)
}

// collect is the leader's: it never fails, it tries again.
func (s *Source) collect(ctx context.Context) error {
	for {
		quarantine := s.Snapshot().Router.Spec.Quarantine()
		if err := s.collectOnce(ctx, quarantine, time.Now()); err != nil && ctx.Err() == nil {
			s.log.Warn("collecting the blocks of nodes that are gone failed; trying again", "err", err)
		}
		timer := time.NewTimer(min(max(quarantine/10, collectOften), collectSeldom))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// collectOnce makes one round.
func (s *Source) collectOnce(ctx context.Context, quarantine time.Duration, now time.Time) error {
	routes := s.routes.Load()
	if routes == nil {
		return nil
	}
	blocks, err := s.blocks.metadata(ctx, config.LabelClaimed+"=true,"+config.LabelNode)
	if err != nil || len(blocks) == 0 {
		return err
	}
	nodes, err := s.nodes.metadata(ctx, "")
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for _, n := range nodes {
		there[n.Name] = true
	}
	for _, b := range blocks {
		p, err := config.ParseBlockName(b.Name)
		if err != nil {
			continue
		}
		orphaned := !there[b.Labels[config.LabelNode]]
		if orphaned {
			routed, err := (*routes)(ctx, p)
			if err != nil {
				return fmt.Errorf("look for routes to %s: %w", p, err)
			}
			orphaned = !routed
		}
		if err := s.judgeBlock(ctx, b, orphaned, quarantine, now); err != nil {
			return err
		}
	}
	return nil
}

// judgeBlock notes that a block is orphaned, or that it is not any more, or ends its time.
func (s *Source) judgeBlock(ctx context.Context, b metav1.PartialObjectMetadata, orphaned bool, quarantine time.Duration, now time.Time) error {
	text, noted := b.Annotations[config.AnnotationOrphanedSince]
	since, err := time.Parse(time.RFC3339, text)
	switch {
	case !orphaned && noted:
		return s.annotate(ctx, b, nil)
	case !orphaned:
		return nil
	case !noted || err != nil || since.After(now):
		at := now.UTC().Format(time.RFC3339)
		s.log.Info("a block has neither node nor route; it is kept for the quarantine", "block", b.Name, "node", b.Labels[config.LabelNode], "quarantine", quarantine)
		return s.annotate(ctx, b, &at)
	case now.Sub(since) < quarantine:
		return nil
	}
	return s.free(ctx, b, since)
}

// annotate sets, or with nil removes, since when a block has been orphaned. A block that has changed since it
// was read is left for the next round.
func (s *Source) annotate(ctx context.Context, b metav1.PartialObjectMetadata, since *string) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": b.UID, "resourceVersion": b.ResourceVersion,
		"annotations": map[string]*string{config.AnnotationOrphanedSince: since},
	}})
	if err != nil {
		return err
	}
	_, err = s.blocks.patch(ctx, b.Name, types.MergePatchType, patch)
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// free deletes a block whose time is over, after a last look at the Node and the block themselves: the lists come
// from a cache.
func (s *Source) free(ctx context.Context, b metav1.PartialObjectMetadata, since time.Time) error {
	block, err := s.blocks.get(ctx, b.Name)
	if apierrors.IsNotFound(err) || err == nil && (block.UID != b.UID || block.ResourceVersion != b.ResourceVersion) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err = s.nodes.get(ctx, block.Spec.Node); !apierrors.IsNotFound(err) {
		return err // nil where the node is there, after all
	}
	if err = s.deleteBlock(ctx, block); apierrors.IsConflict(err) {
		return nil
	}
	if err == nil {
		s.log.Info("gave back the block of a node that is gone", "block", block.Spec.CIDR, "node", block.Spec.Node, "since", since)
	}
	return err
}
