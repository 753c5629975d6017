// Package rtnl speaks just enough rtnetlink to wire a pod: veth pairs, addresses, neighbours, routes.
//
// A Conn is a blocking socket: rtnetlink does its work inside sendmsg and has the acknowledgement
// ready when that returns, so there is nothing to poll for, and every call costs two system calls.
// It stays in the namespace it was opened in, whatever its user's thread does later. A Conn serves one
// goroutine at a time. The plugin links this package too, which is why it has no dependency but
// golang.org/x/sys.
//
// A dump that the kernel marks as interrupted (NLM_F_DUMP_INTR: the table changed under it) is
// repeated, and fails with ErrInterrupted rather than give a partial view.
//
// References: rtnetlink(7), and include/uapi/linux/{if_link,if_addr,rtnetlink,neighbour}.h.
package rtnl
