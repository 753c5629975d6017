//go:build !failpoint

package failpoint

// Hit does nothing in this build; see the package comment.
func Hit(string) {}
