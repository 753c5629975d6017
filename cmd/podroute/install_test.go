package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// folder writes files of mode 0755 and returns where.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// contents reads a folder's files, without the record.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, e := range entries {
		if e.Name() == recordFile {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = string(b)
	}
	return files
}

func install(t *testing.T, from, to string) string {
	t.Helper()
	var out bytes.Buffer
	if err := (installation{from: from, to: to, out: &out}).run(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestInstall(t *testing.T) {
	t.Parallel()
	v1 := map[string]string{"podroute-cni": "cni 1", "portmap": "portmap 1", "loopback": "loopback 1"}
	v2 := map[string]string{"podroute-cni": "cni 2", "portmap": "portmap 2", "loopback": "loopback 1"}
	for _, c := range []struct {
		name string
		host map[string]string // what is there before
		want map[string]string // after version 1 and then version 2
	}{
		{"an empty host", nil, v2},
		{
			"another's plugins stay",
			map[string]string{"portmap": "theirs", "bridge": "bridge"},
			map[string]string{"podroute-cni": "cni 2", "portmap": "theirs", "loopback": "loopback 1", "bridge": "bridge"},
		},
		{"our plugin is ours whoever put it there", map[string]string{"podroute-cni": "by hand"}, v2},
		{"what was ended halfway goes", map[string]string{unfinished + "portmap-1": "por"}, v2},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			to := folder(t, c.host)
			install(t, folder(t, v1), to)
			second := folder(t, v2)
			install(t, second, to)
			if diff := cmp.Diff(c.want, contents(t, to)); diff != "" {
				t.Error(diff)
			}
			if st, err := os.Stat(filepath.Join(to, ownPlugin)); err != nil || st.Mode() != 0o755 {
				t.Errorf("%s: %v, %v", ownPlugin, st.Mode(), err)
			}
			before, err := os.Stat(filepath.Join(to, recordFile))
			if err != nil {
				t.Fatal(err)
			}
			if out := install(t, second, to); strings.Contains(out, ": installed") {
				t.Errorf("a third time:\n%s", out)
			}
			if after, err := os.Stat(filepath.Join(to, recordFile)); err != nil || !os.SameFile(before, after) {
				t.Errorf("the record was written again: %v", err)
			}
		})
	}
}

// An upgrade that is ended between the record and a rename, or after it, knows its own plugins afterwards.
func TestInstallEndedHalfway(t *testing.T) {
	t.Parallel()
	v3 := folder(t, map[string]string{"podroute-cni": "cni 3", "portmap": "portmap 3"})
	for _, there := range []string{"portmap 1", "portmap 2"} {
		to := t.TempDir()
		v2 := folder(t, map[string]string{"podroute-cni": "cni 2", "portmap": "portmap 2"})
		install(t, folder(t, map[string]string{"podroute-cni": "cni 1", "portmap": "portmap 1"}), to)
		in := installation{from: v2, to: to, out: &bytes.Buffer{}}
		ours := map[string][]string{}
		for _, dir := range []string{v2, to} {
			for _, name := range []string{"podroute-cni", "portmap"} {
				s, err := sum(filepath.Join(dir, name))
				if err != nil {
					t.Fatal(err)
				}
				ours[name] = append(ours[name], s)
			}
		}
		if err := in.writeRecord(ours); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, "portmap"), []byte(there), 0o755); err != nil {
			t.Fatal(err)
		}
		install(t, v3, to)
		want := map[string]string{"podroute-cni": "cni 3", "portmap": "portmap 3"}
		if diff := cmp.Diff(want, contents(t, to)); diff != "" {
			t.Errorf("with %s: %s", there, diff)
		}
	}
}

func TestInstallErrors(t *testing.T) {
	t.Parallel()
	file := filepath.Join(folder(t, map[string]string{"file": ""}), "file")
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, ownPlugin), 0o755); err != nil {
		t.Fatal(err)
	}
	whole := folder(t, map[string]string{"podroute-cni": "cni"})
	for name, c := range map[string]struct{ from, to, want string }{
		"no plugins":        {t.TempDir(), t.TempDir(), "podroute-cni is not there: run this in podroute's image"},
		"no folder":         {"/nonexistent", t.TempDir(), "/nonexistent: no such file"},
		"the host's a file": {whole, file, "not a directory"},
		"a folder there":    {whole, dir, "podroute-cni: is a directory"},
	} {
		err := installation{from: c.from, to: c.to, out: &bytes.Buffer{}}.run()
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// A runtime runs the plugin while it is replaced: it always finds a whole program.
func TestInstallWhileRunning(t *testing.T) {
	t.Parallel()
	to := t.TempDir()
	var versions [2]string
	for i := range versions {
		versions[i] = folder(t, map[string]string{"podroute-cni": fmt.Sprintf("#!/bin/sh\n#%s\nexit %d\n", strings.Repeat("x", 1<<20), 10+i)})
	}
	install(t, versions[0], to)
	// Not this process starts it: while a Go program writes a file, what it forks has that file open too.
	runner := exec.CommandContext(t.Context(), "sh", "-c",
		`while [ -e "$0" ]; do "$0"; code=$?; [ -e "$0" ] || exit 0; [ $code = 10 ] || [ $code = 11 ] || exit $code; done`,
		filepath.Join(to, ownPlugin))
	runner.Stderr = t.Output()
	if err := runner.Start(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(time.Second)
	for i := 0; time.Now().Before(deadline); i++ {
		install(t, versions[i%2], to)
	}
	if err := os.Remove(filepath.Join(to, ownPlugin)); err != nil {
		t.Fatal(err)
	}
	if err := runner.Wait(); err != nil {
		t.Errorf("the plugin failed while it was replaced: %v", err)
	}
}
