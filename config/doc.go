// Package config owns the API kinds of podroute.io/v1alpha1: their Go types, strict parsing, defaults
// and validation, and the Snapshot that the agent reads.
//
// The way of an object:
//
//	text ─Parse─▶ Object (one manifest, checked by itself) ─┐
//	API object ─NewObject─▶ Object ─────────────────────────┴─Builder.Build─▶ Snapshot
//
// Parse and NewObject see one object: shape (every field known, of the right type), ranges, what
// excludes what. Builder.Build sees all of them: duplicates, overlaps, references, fields that must
// not change. Sources (config/file, config/kube) find the objects and call these.
//
// Invariants:
//
//   - All problems are collected, never just the first; each is a Problem that names the place, the
//     object, the field and the mend. Problems never hold the value of a secret.
//   - A bad object is left out, and stops no other. Where a good version of it was in force before,
//     that version stays in force until the new one is mended or deleted.
//   - Nothing is ignored in silence: an unknown field, an unknown kind, a feature that no code serves
//     yet are all problems.
//   - Of two objects that exclude each other the one already in force wins, then the older
//     (creationTimestamp), then the first in order of file and document.
//   - What a Snapshot holds is valid and complete: defaults are filled in, lists are sorted by name,
//     and accessors (Prefixes, PrefixRange.Bounds, ...) need not return errors.
//
// A bad RouterConfig at start is fatal (Snapshot.Fatal): the defaults in its place would be a
// cluster of another AS. A pod range over a service range or a node address is fatal too.
//
// Concurrency: a Snapshot is an immutable value. A Builder belongs to one goroutine.
package config
