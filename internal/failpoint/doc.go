// Package failpoint kills the process at a named place, so that tests can prove that a crash there
// leaves nothing behind.
//
// It owns nothing. In ordinary builds Hit is empty and is compiled away; in builds with the tag
// "failpoint" it compares the name with PODROUTE_FAILPOINT and, where they match, ends the process
// with SIGKILL, as the kernel's out-of-memory killer would: no deferred call runs.
//
// PODROUTE_FAILPOINT is a name, or a name and the hit that counts: "cni.after-veth" or
// "cni.after-veth:3".
package failpoint
