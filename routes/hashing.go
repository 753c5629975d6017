package routes

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// Hashing spreads flows over the next hops of a route by buckets that stay with their next hop while others come and
// go: a resilient nexthop group (Linux 5.13). The route has a group of its own, for who shares a group shares the
// buckets' fate. The zero value is the kernel's plain multipath, and so is any value on a kernel without it.
type Hashing struct {
	// Buckets that flows are sorted into, 2 to 65535; by far more than next hops.
	Buckets int
	// Idle is how long a bucket must have been without a packet before it is moved for balance's sake, Unbalanced
	// after how long busy ones are, too; 0: never. Both in steps of 10 ms.
	Idle, Unbalanced time.Duration
}

const (
	groupResilient = 1 // NEXTHOP_GRP_TYPE_RES of linux/nexthop.h

	nhaResGroup          = 12 // NHA_RES_GROUP, and what is nested in it
	nhaResGroupBuckets   = 1
	nhaResGroupIdle      = 2
	nhaResGroupUnbalance = 3
	nhaResBucket         = 13 // NHA_RES_BUCKET
	nhaResBucketIndex    = 2

	// tickTime is the unit of the kernel's timers in messages: USER_HZ is 100 wherever Linux runs.
	tickTime = 10 * time.Millisecond
)

// write puts the group's type and timers into a message. The number of buckets must stay as it is in one that changes
// a group.
func (h Hashing) write(w *writer) {
	if h.Buckets == 0 {
		return
	}
	w.bytes(unix.NHA_GROUP_TYPE, native.AppendUint16(nil, groupResilient))
	at := w.nest(nhaResGroup | unix.NLA_F_NESTED)
	w.bytes(nhaResGroupBuckets, native.AppendUint16(nil, uint16(h.Buckets)))
	w.u32(nhaResGroupIdle, uint32(h.Idle/tickTime))
	w.u32(nhaResGroupUnbalance, uint32(h.Unbalanced/tickTime))
	w.unnest(at)
}

// parseHashing reads NHA_RES_GROUP.
func parseHashing(b []byte) Hashing {
	var h Hashing
	for typ, val := range attrs(b) {
		switch typ {
		case nhaResGroupBuckets:
			if len(val) >= 2 {
				h.Buckets = int(native.Uint16(val))
			}
		case nhaResGroupIdle:
			h.Idle = time.Duration(u32(val)) * tickTime
		case nhaResGroupUnbalance:
			h.Unbalanced = time.Duration(u32(val)) * tickTime
		}
	}
	return h
}

// resilient tells whether the kernel knows resilient groups: one that does says of a bucket of a group that is not
// there that there is no such group, one that does not knows no such question.
func resilient(ctx context.Context, c *conn) (bool, error) {
	known := true
	err := c.do(ctx, 1, func(w *writer, _ int) {
		w.begin(unix.RTM_GETNEXTHOPBUCKET, 0)
		w.raw(make([]byte, sizeofNhmsg)...)
		w.u32(unix.NHA_ID, idBase)
		at := w.nest(nhaResBucket | unix.NLA_F_NESTED)
		w.bytes(nhaResBucketIndex, native.AppendUint16(nil, 0))
		w.unnest(at)
		w.end()
	}, func(_ int, err error) { known = !errors.Is(err, unix.EOPNOTSUPP) })
	c.sent = 0
	return known, err
}
