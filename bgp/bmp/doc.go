// Package bmp tells monitoring stations what BGP neighbours say, by the BGP Monitoring Protocol (RFC 7854).
//
// It knows no BGP beyond the messages' envelopes: who uses it hands over BGP messages as bytes, and is asked for all
// that stands (Source) whenever a station is there that knows nothing yet. A station that follows gets everything
// that is given to Send, in order.
//
// Invariants:
//   - Send never waits. A station that does not read is given up when what waits for it exceeds a bound, and is told all
//     anew when it is back.
//   - A station sees what Source.Dump yields, and then each Send since the moment that Dump was of: nothing twice,
//     nothing left out.
//   - The router calls the station, never the other way round (RFC 7854 section 3.2), and listens to nothing that it says.
//
// Concurrency: each station has a goroutine, started and ended by Run. Send and Set may be called from any goroutine and
// under any lock, because they take none but the Exporter's own, inside which nothing is called.
package bmp
