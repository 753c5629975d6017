// Package bmpstation is a BMP monitoring station (RFC 7854) for tests: it listens, takes messages apart at their
// lengths, and keeps what a decoder of the test's own makes of each.
//
// It knows nothing of BMP but the common header. What was heard before a connection is forgotten when there is another.
//
// Its methods may be called from any goroutine; connections are read in goroutines that end with them, or with the test.
package bmpstation
