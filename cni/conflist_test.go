package cni_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/containernetworking/cni/libcni"

	"github.com/podroute/podroute/cni"
)

func TestConflist(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		plugins []string // in the folder, executable
		socket  string
		golden  string
		chain   []string
	}{
		{"alone", nil, "", "alone.conflist", []string{"podroute-cni"}},
		{"default socket", nil, "/run/podroute/cni.sock", "alone.conflist", []string{"podroute-cni"}},
		{"chained", []string{"portmap", "bandwidth"}, "/run/x/cni.sock", "chained.conflist", []string{"podroute-cni", "portmap", "bandwidth"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir, bin := filepath.Join(t.TempDir(), "not", "there"), t.TempDir()
			for _, p := range tt.plugins {
				if err := os.WriteFile(filepath.Join(bin, p), nil, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(filepath.Join(bin, "tuning"), nil, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := cni.InstallConflist(dir, cni.Conflist{BinDir: bin, Socket: tt.socket}); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(filepath.Join(dir, "10-podroute.conflist"))
			if err != nil {
				t.Fatal(err)
			}
			want, err := os.ReadFile(filepath.Join("testdata", tt.golden))
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != string(want) {
				t.Errorf("conflist:\n%s\nwant:\n%s", got, want)
			}
			list, err := libcni.NetworkConfFromBytes(got)
			if err != nil {
				t.Fatal(err)
			}
			if list.CNIVersion != "1.1.0" { // libcni takes the highest of cniVersions that it knows
				t.Errorf("libcni settles on version %s, want 1.1.0", list.CNIVersion)
			}
			var chain []string
			for _, p := range list.Plugins {
				chain = append(chain, p.Network.Type)
			}
			if !slices.Equal(chain, tt.chain) {
				t.Errorf("chain %v, want %v", chain, tt.chain)
			}
		})
	}
}

func TestConflistIsWrittenOnceAndRemoved(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "10-podroute.conflist")
	install := func(c cni.Conflist) os.FileInfo {
		t.Helper()
		if err := cni.InstallConflist(dir, c); err != nil {
			t.Fatal(err)
		}
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	first := install(cni.Conflist{})
	if !os.SameFile(first, install(cni.Conflist{})) {
		t.Error("the same configuration was written again: runtimes would load it again")
	}
	if os.SameFile(first, install(cni.Conflist{Socket: "/other"})) {
		t.Error("another configuration was written into the file that runtimes may be reading")
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 1 {
		t.Errorf("the folder holds %v (%v), want the conflist only", names, err)
	}
	for range 2 {
		if err := cni.RemoveConflist(dir); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the removed conflist: %v", err)
	}
	if err := cni.InstallConflist(filepath.Join(path, "x"), cni.Conflist{}); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := cni.InstallConflist(filepath.Join(dir, "file"), cni.Conflist{}); err == nil {
		t.Error("a folder that is a file: no error")
	}
}
