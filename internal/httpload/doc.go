// Package httpload is an HTTP load for tests that break things under it: 200 requests a second over new connections, and
// ten a second over each of some that are kept, which are counted apart: a connection that is under way may have to
// end where its node goes, one that begins must not.
//
// It counts every request that gets no answer, and tries none again. Whoever answers says its name, so that it can be told
// who was asked. A Load is safe for concurrent use.
package httpload
