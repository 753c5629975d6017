// Command matrix runs the tests of features against routing daemons and makes a table of what they found:
//
//	go run ./test/interop/matrix
//
// Every subtest that names a feature and a daemon (see routers.Feature) is a cell: pass, fail, or "the daemon
// lacks it" with the daemon's documentation as the reason. A feature that several tests try passes if all do.
// The cells go to build/interop.json, the table to standard output and into docs/interop.md, between two
// marks. It ends with 1 if a cell or any test fails, and if the page said something else before.
package main
