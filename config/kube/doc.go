// Package kube reads the configuration from the Kubernetes API and writes back what there is to say, and is
// the only package that knows client-go.
//
// The way of an object:
//
//	API ─watch─▶ follower ─read, trim─▶ shelf ─┐
//	keeper (last Snapshot of this boot) ───────┴─▶ desk: config.Builder ─▶ Snapshot ─▶ conditions (leader)
//	claims, report, conditions ─▶ client ─▶ API
//
// A follower reads everything once and then only what changes; after an outage it goes on from the version
// that it saw last. Which watches there are follows from what they tell (wants): with mesh None a node sees its
// own Node alone, Secrets are read by name, Namespaces only for pools that select them, Services and EndpointSlices only
// where this node advertises services. Of endpoints only this node's are told from the others: elsewhere they come and
// go without an event here.
//
// Invariants:
//
//   - No Snapshot is built before everything was read once, by this agent or, where the API does not answer at
//     its start, by an earlier one of this boot (keeper).
//   - The API away changes nothing: what is in force stays in force, and nothing waits for it.
//   - One bad object stops no other, be it one that its Go type cannot hold (unreadable).
//   - Every try is spaced out at random (backoff); events are gathered before a Snapshot is built, and one that
//     says the same is not told.
//   - Only the holder of the Lease writes conditions and collects blocks of others.
//
// There is no clientset and there are no informers: they link every kind of the API, and keep what they read twice
// for as long as the agent runs.
//
// Concurrency: keep owns desk, the followers' goroutines their followers; shelves and Snapshot have locks.
// Run and New start nothing that outlives them.
package kube
