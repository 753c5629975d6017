// Command matrix runs the tests of features against routing daemons and makes a table of what they found:
//
//	go run ./test/interop/matrix
//
// Every subtest that names a feature and a daemon (see routers.Feature) is a cell: pass, fail, or "the daemon
// lacks it" with the daemon's documentation as the reason. A feature that several tests try passes if all do.
// The cells go to build/interop.json, the table to standard output and into docs/interop.md, between two
// marks. It ends with 1 if a cell or any test fails, and if the page said something else before. What tests measure
// (routers.Measured) goes into the JSON and under the printed table; the page, which lasts, has no figures.
//
// With -check it only asks the tests which cells they are, without root or daemons, and ends with 1 if the page has others.
package main
