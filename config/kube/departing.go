package kube

import (
	"reflect"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func (h *herald) departing() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.own.gone || h.own.deleting || h.own.shutdown
}

// shutdownMessage is in the message of condition Ready while kubelet delays a shutdown until the pods have ended
// (shutdownGracePeriod); there is no reason or field of its own for it.
const shutdownMessage = "node is shutting down"

// sighting is what is known of the own Node.
type sighting struct {
	// seen: it was there once; gone: and is no more.
	seen, gone bool
	version    uint64
	uid        types.UID
	deleting   bool
	shutdown   bool
	taints     []corev1.Taint
	network    *corev1.NodeCondition // NetworkUnavailable
}

// sightingOf reads what matters of a Node.
func sightingOf(n *corev1.Node) sighting {
	s := sighting{seen: true, uid: n.UID, deleting: n.DeletionTimestamp != nil}
	s.version, _ = strconv.ParseUint(n.ResourceVersion, 10, 64) // one that is no number counts as old
	s.taints = append(s.taints, n.Spec.Taints...)
	for _, c := range n.Status.Conditions {
		switch c.Type {
		case corev1.NodeNetworkUnavailable:
			c.LastHeartbeatTime = metav1.Time{} // no reason to write
			s.network = &c
		case corev1.NodeReady:
			s.shutdown = c.Status != corev1.ConditionTrue && strings.Contains(c.Message, shutdownMessage)
		}
	}
	return s
}

// take takes in a newer state of the Node, nil if it is gone, and tells whether anything of this has changed.
func (s *sighting) take(n *corev1.Node) bool {
	if n == nil {
		moved := s.seen && !s.gone
		*s = sighting{seen: s.seen, gone: s.seen}
		return moved
	}
	next := sightingOf(n)
	if next.uid == s.uid && next.version < s.version {
		return false // the watch is behind what our own write was answered with
	}
	before := *s
	*s = next
	before.version = next.version
	return !reflect.DeepEqual(before, next)
}

func (s *sighting) reference(name string) corev1.ObjectReference {
	return corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: name, UID: s.uid}
}
