// Bench-fib measures how long routes learned over BGP take to be in the kernel's routing table (FIB),
// for the podroute agent, BIRD and FRR, in turns in one run.
//
// Each run has two network namespaces of its own, joined by a veth: a feeder, which is a real BIRD with
// 100,000 static routes, and the device under test. All devices have the same addresses and AS number,
// wait for the feeder to dial, accept the same prefixes up to the same maximum, and have no graceful
// restart. Once the session is established and the device has been idle for a moment, the feeder's static
// routes are switched on. BIRD hands all of them to its BGP session before it sends the first, so that
// each UPDATE carries exactly the routes that share attributes, 100 or 4 of them by MED; a capture on the
// link counts UPDATEs and prefixes, and a run with any other number is void.
//
// The clock starts when the first UPDATE that carries a prefix crosses the link and stops when the last
// route is in the FIB: all that the device does is between the two, and only what the feeder does while
// the device works too. Withdrawal is the time from the feeder's end of the TCP connection (the feeder is
// killed, nothing else is sent) to the last route's leaving the FIB. Packets bear the kernel's time stamps. The
// FIB is watched by single route lookups of randomly chosen prefixes; only when all those are there are
// the prefixes of the table counted. No rtnetlink subscriber is added, because each costs the writer time. After the clock has stopped,
// every route and its next hop are compared with what was sent.
//
// BIRD and podroute make a pair in each round, and change places from round to round; the figure that
// counts is the ratio of the two in a round, since rounds share what else the machine does.
package main
