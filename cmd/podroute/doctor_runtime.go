package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
)

// ownConflist is the name of the network configuration that the agent writes.
const ownConflist = "10-podroute.conflist"

// runtimeFolders are those of a container runtime that a network plugin lives in.
type runtimeFolders struct {
	conf, bin string
	// config are files of runtimes that may name other folders.
	config []string
}

// check finds what keeps a container runtime from using podroute. A host without the folder of network
// configurations has no runtime.
func (r runtimeFolders) check() ([]finding, error) {
	entries, err := os.ReadDir(r.conf) // sorted by name
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return slices.Concat(r.checkOrder(entries), r.checkPlugins(), r.checkConfig()), nil
}

// checkOrder: of all configurations a runtime takes the first by name.
func (r runtimeFolders) checkOrder(entries []fs.DirEntry) []finding {
	var names []string
	for _, e := range entries {
		switch filepath.Ext(e.Name()) {
		case ".conf", ".conflist", ".json":
			names = append(names, e.Name())
		}
	}
	what := "network configuration in " + r.conf
	switch {
	case !slices.Contains(names, ownConflist):
		return []finding{{what, "no " + ownConflist, ownConflist, "the agent writes it once it can serve pods: podroute status says why it cannot"}}
	case names[0] != ownConflist:
		return []finding{{what, names[0] + " is first", ownConflist + " first", "the runtime takes the first by name: uninstall the other network plugin, then remove its file"}}
	}
	return nil
}

func (r runtimeFolders) checkPlugins() []finding {
	var out []finding
	for _, p := range []struct{ name, without string }{
		{"podroute-cni", "no pod can be added"},
		{"loopback", "containerd cannot start a pod"},
		{"portmap", "hostPort of pods has no effect"},
		{"bandwidth", "the bandwidth annotations of pods have no effect"},
	} {
		have := ""
		switch st, err := os.Stat(filepath.Join(r.bin, p.name)); {
		case errors.Is(err, fs.ErrNotExist):
			have = "absent"
		case err != nil:
			have = err.Error()
		case !st.Mode().IsRegular() || st.Mode()&0o111 == 0:
			have = "not a program"
		default:
			continue
		}
		out = append(out, finding{"plugin " + filepath.Join(r.bin, p.name), have, "installed", "podroute install copies it from the image: without it, " + p.without})
	}
	return out
}

// checkConfig looks for other folders in the runtimes' own configuration, where it can be read.
func (r runtimeFolders) checkConfig() []finding {
	var out []finding
	for _, file := range r.config {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // another runtime, or a container, which does not see it
		}
		for _, key := range []struct{ pattern, want, flag string }{
			{`(?m)^\s*conf_dir\s*=\s*["']([^"']+)["']`, r.conf, "--cni-conf-dir"},
			{`(?m)^\s*bin_dirs?\s*=\s*\[?\s*["']([^"']+)["']`, r.bin, "--cni-bin-dir"},
		} {
			m := regexp.MustCompile(key.pattern).FindSubmatch(text)
			if m == nil || filepath.Clean(string(m[1])) == filepath.Clean(key.want) {
				continue
			}
			out = append(out, finding{file, string(m[1]), key.want, fmt.Sprintf("the runtime looks elsewhere than podroute writes: start the agent with %s %s, or change this", key.flag, m[1])})
		}
	}
	return out
}
