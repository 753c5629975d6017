// Package prefixmap finds values by IP prefix: a map that knows that an IPv4 prefix fits a word. With a hundred
// thousand of them a map of words takes half the time of a map of netip.Prefix.
//
// Prefixes are told apart as netip.Prefix tells them apart, but for host bits of IPv4 prefixes with one length:
// masked prefixes are what it is for. A Map is no safer for concurrent use than Go's own.
package prefixmap
