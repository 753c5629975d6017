// Package vip decides which Services of type LoadBalancer have which addresses of AddressPools.
//
// It is pure: a State goes in, a Plan comes out, and nothing is remembered. The truth is what the Services hold in
// their status; who writes a Plan there, and how he makes sure that he is the only one, is settled elsewhere.
//
// Invariants:
//
//   - No address is planned for two Services, unless they may share it: one namespace, one sharing key, no port in common,
//     and one externalTrafficPolicy, with Local the same pods.
//   - What a Service holds it keeps, whatever becomes of the pool: excluded, disabled, selecting others, deleted. Only
//     its own doing takes it away: another request, a family less, a port that collides with an older sharer's. Of two that
//     hold one address without a right to share it, the older keeps it.
//   - An address that a Plan takes from somebody is given to nobody in the same Plan: Plans are written piece by
//     piece, in any order.
//   - Every Service that is served and lacks an address has a Refusal that says why, and what to do.
//   - The order of what goes in does not matter. Services come in the order of their ages, those that ask for addresses before
//     those that do not.
//
// Which address: one that is asked for; else the one that the Service is known to have had; else one that its key
// shares; else a free one. The search for that begins at a hash of the Service's UID, so that an address that was given back is not at
// once another's, and a Plan made again is the same Plan. All addresses of a range are given, an IPv4 range's first and
// last too: these are routed one by one, and no subnet's.
package vip
