// Package layering holds the dependency direction of docs/design.md section 1: which of our packages
// import which, where the types of libraries stop, and what each binary links.
//
// It has tests only. golangci-lint's depguard (.golangci.yml) tells the same while one types, file by
// file; this is what only the whole graph can tell, and it runs wherever the tests do.
package layering
