// Package routes owns our routes in the kernel's main table.
//
// Ours is what bears route protocol 179 and metric 179, and the nexthop objects of protocol 179 with
// an id in 179<<24 … 180<<24-1. Routes of protocol 179 and metric 100 lead to pods: package cni makes
// them, Installed lists them, nothing here changes them. Whatever has another mark is foreign and
// survives everything, a route of the same destination and metric included: routes are appended
// beside what is there and removed by exact match, because NLM_F_REPLACE takes the first route of the
// same metric, whoever made it.
//
// Every set of next hops is one nexthop group, also a set of one, and a group is shared by all routes
// of the set. So a set that changes is one message, whatever the number of routes: a group can be
// replaced by another in place, a single nexthop and a group cannot replace each other. Groups that come to carry the same set so are
// merged when nothing has changed for a while. Members are
// nexthop objects shared by the groups. A route with Hashing has a resilient group, which it shares with
// none. A kernel without nexthop objects (before Linux 5.3) gets routes with their next hops written out.
//
// FIB keeps the desired state and an image of the kernel: what the last dump found and what the
// kernel has acknowledged since. The image is believed only while nobody else acts: a second socket
// hears what others do to links, addresses, routes and nexthop objects (a filter in the kernel drops
// the echoes of our own messages). What concerns us either corrects the image or condemns it, and then
// the next turn starts from a dump. The kernel is silent when a link loses carrier and it deletes the
// link's nexthop objects, shrinks groups and drops routes; so every event of a link in use leads to a
// comparison of the nexthop objects, which are few.
//
// A turn goes: nexthop objects, groups, routes added, routes removed, groups and objects nobody uses
// removed; messages in batches, one acknowledgement a batch, each error matched to its object by
// sequence number. A refused next hop takes only its own routes down, and none that has another.
//
// One mutex owns all of this. Set, Update, Remove and the repairs of Run hold it from the first
// message to the last; Links, Foreign, Ways and Installed read through a socket of their own and hold
// nobody up. All sockets are opened by New, in the network namespace of the calling thread.
//
// CheckHost and ApplyHost look after the settings of the host without which routes are of no use.
package routes
