// Package report tells what came of a run: a table for people, JUnit for machines that show tests, and
// summary.json for scripts.
package report
