package cni

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/podroute/podroute/cni/client"
)

// Names that the runtime sees.
const (
	conflistFile = "10-podroute.conflist" // runtimes take the first of the folder, by name
	networkName  = "podroute"
	pluginType   = "podroute-cni" // the binary's name
)

// Conflist is what the network configuration depends on.
type Conflist struct {
	BinDir string // where the runtime looks for plugins; those that are there now are chained
	Socket string // of the agent; empty: where the plugin looks by itself
}

// conflist is the file's form (CNI specification 1.1, section 1). containerd 1.6 knows cniVersion only,
// and stops at 1.0.0; newer runtimes choose from cniVersions.
type conflist struct {
	CNIVersion  string           `json:"cniVersion"`
	CNIVersions []string         `json:"cniVersions"`
	Name        string           `json:"name"`
	Plugins     []conflistPlugin `json:"plugins"`
}

type conflistPlugin struct {
	Type         string          `json:"type"`
	Socket       string          `json:"socket,omitempty"`
	SNAT         bool            `json:"snat,omitempty"`
	Capabilities map[string]bool `json:"capabilities,omitempty"`
}

// render writes the file's text.
func (c Conflist) render() ([]byte, error) {
	first := conflistPlugin{Type: pluginType, Socket: c.Socket, Capabilities: map[string]bool{"ips": true, podAnnotations: true}}
	if c.Socket == client.DefaultSocket {
		first.Socket = ""
	}
	list := conflist{CNIVersion: "1.0.0", CNIVersions: Versions(), Name: networkName, Plugins: []conflistPlugin{first}}
	for _, p := range []conflistPlugin{
		{Type: "portmap", SNAT: true, Capabilities: map[string]bool{"portMappings": true}},
		{Type: "bandwidth", Capabilities: map[string]bool{"bandwidth": true}},
	} {
		if st, err := os.Stat(filepath.Join(c.BinDir, p.Type)); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			list.Plugins = append(list.Plugins, p)
		}
	}
	b, err := json.MarshalIndent(list, "", "  ")
	return append(b, '\n'), err
}

// InstallConflist writes the network configuration into the runtime's folder, at once and whole: the
// runtime watches the folder and takes what it sees. A file that says the same already is left alone.
// Call it once ADD can be served, because it is what makes a node look ready.
func InstallConflist(dir string, c Conflist) error {
	text, err := c.render()
	if err != nil {
		return fmt.Errorf("render %s: %w", conflistFile, err)
	}
	path := filepath.Join(dir, conflistFile)
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, text) {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the runtime's configuration folder: %w", err)
	}
	// Runtimes read *.conf, *.conflist and *.json only.
	tmp, err := os.CreateTemp(dir, "."+conflistFile+".*.tmp")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, werr := tmp.Write(text)
	err = errors.Join(werr, tmp.Chmod(0o644), tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(tmp.Name()))
	}
	return nil
}

// RemoveConflist removes the network configuration: on uninstall only, because a node without one is
// not ready.
func RemoveConflist(dir string) error {
	if err := os.Remove(filepath.Join(dir, conflistFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
