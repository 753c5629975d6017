package file

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/podroute/podroute/config"
)

// peer is a manifest of one peer.
func peer(name string, as int) string {
	return fmt.Sprintf("apiVersion: podroute.io/v1alpha1\nkind: BGPPeer\nmetadata: {name: %s}\nspec: {address: 192.0.2.%d, asNumber: %d}\n---\n", name, as, as)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// start runs a Source until the test ends.
func start(t *testing.T, dir string) *Source {
	t.Helper()
	s, err := New(dir, slog.New(slog.DiscardHandler))
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return s
}

// describe names the peers in force, with their AS numbers.
func describe(s config.Snapshot) string {
	var list []string
	for _, p := range s.Peers {
		list = append(list, p.Name+" "+string(p.Spec.ASNumber))
	}
	return strings.Join(list, ", ")
}

// patience is shorter than secondLook: what is found within it was found by a watch.
const patience = secondLook / 2

// await waits until the peers in force are as wanted and the problems contain the text, or until there are
// none for "".
func await(t *testing.T, s *Source, want, problem string) {
	t.Helper()
	deadline := time.After(patience)
	for {
		snapshot := s.Snapshot()
		if describe(snapshot) == want && (problem == "") == (len(snapshot.Problems) == 0) &&
			strings.Contains(fmt.Sprint(snapshot.Problems), problem) {
			return
		}
		select {
		case <-s.Changed():
		case <-deadline:
			t.Fatalf("in force: %s, problems %v\nwant: %s, problem %q", describe(snapshot), snapshot.Problems, want, problem)
		}
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "file"), "")
	for _, path := range []string{filepath.Join(dir, "absent"), filepath.Join(dir, "file")} {
		_, err := New(path, slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), "configuration folder "+path) {
			t.Errorf("New(%s): %v", path, err)
		}
	}
	write(t, filepath.Join(dir, "b.yml"), peer("b", 2))
	write(t, filepath.Join(dir, "a.yaml"), peer("a", 1)+peer("a", 9))
	write(t, filepath.Join(dir, "c.json"), `{"apiVersion": "podroute.io/v1alpha1", "kind": "BGPPeer", "metadata": {"name": "c"}, "spec": {"address": "192.0.2.3", "asNumber": 3}}`)
	write(t, filepath.Join(dir, ".hidden.yaml"), "a: [")
	write(t, filepath.Join(dir, "README"), "a: [")
	must(t, os.Mkdir(filepath.Join(dir, "sub"), 0o700))
	s, err := Load(dir)
	if err != nil || describe(s) != "a 1, b 2, c 3" {
		t.Errorf("in force %s, %v", describe(s), err)
	}
	if len(s.Problems) != 1 || !strings.HasPrefix(s.Problems[0].Error(), "a.yaml, document 2: BGPPeer/a: ") {
		t.Errorf("problems %v", s.Problems)
	}
}

// TestEdits makes the edits that people and tools make.
func TestEdits(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a.yaml"), filepath.Join(dir, "b.yaml")
	write(t, a, peer("a", 1))
	s := start(t, dir)
	await(t, s, "a 1", "")
	write(t, a, peer("a", 2)) // in place
	await(t, s, "a 2", "")
	write(t, b, peer("b", 3)) // a new file
	await(t, s, "a 2, b 3", "")
	write(t, filepath.Join(dir, ".a.swp"), peer("a", 4))
	must(t, os.Rename(filepath.Join(dir, ".a.swp"), a)) // a file renamed over another
	await(t, s, "a 4, b 3", "")
	must(t, os.Rename(a, a+"~")) // moved away, and written anew
	write(t, a, peer("a", 5))
	await(t, s, "a 5, b 3", "")
	must(t, os.Remove(b))
	await(t, s, "a 5", "")
	must(t, os.Rename(a, filepath.Join(dir, "c.yaml"))) // the same objects elsewhere
	write(t, b, peer("b", 6))
	await(t, s, "a 5, b 6", "")
}

// TestBrokenEdits: what was good stays until the file is mended, and other files change meanwhile.
func TestBrokenEdits(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a.yaml"), filepath.Join(dir, "b.yaml")
	write(t, a, peer("a", 1)+peer("aa", 2))
	write(t, b, peer("b", 3))
	s := start(t, dir)
	await(t, s, "a 1, aa 2, b 3", "")
	write(t, a, peer("a", 1)+"spec: [")
	await(t, s, "a 1, aa 2, b 3", "a.yaml, document 2: line 6: is no YAML")
	write(t, b, peer("b", 4))
	await(t, s, "a 1, aa 2, b 4", "stays in force")
	write(t, a, peer("a", 5)+peer("aa", 0))
	await(t, s, "a 5, aa 2, b 4", "BGPPeer/aa: spec.asNumber: AS 0 is reserved")
	write(t, a, peer("a", 5)+peer("aa", 6))
	await(t, s, "a 5, aa 6, b 4", "")

	// Files that cannot be read: a pipe, a directory, a link to nowhere.
	must(t, os.Remove(a))
	must(t, syscall.Mkfifo(a, 0o600))
	await(t, s, "a 5, aa 6, b 4", "a.yaml: cannot be read: is no regular file")
	must(t, os.Remove(a))
	must(t, os.Symlink("nowhere", a))
	await(t, s, "a 5, aa 6, b 4", "a.yaml: cannot be read: no such file")
	write(t, filepath.Join(dir, "nowhere"), peer("a", 7))
	await(t, s, "a 7, b 4", "")
	must(t, os.Remove(b))
	must(t, os.Mkdir(b, 0o700))
	await(t, s, "a 7, b 4", "b.yaml: cannot be read")
	must(t, os.Remove(b))
	await(t, s, "a 7", "")
}

// TestWrittenInSteps: nobody sees the half of a file, unless its writer pauses for longer than settle;
// where the machine stalls so long, the test tries again.
func TestWrittenInSteps(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "a.yaml")
	write(t, path, peer("a", 1)+peer("aa", 2))
	s := start(t, dir)
	for deadline := time.Now().Add(patience); ; {
		half, slowest := writeInSteps(t, s, path, peer("a", 3), peer("aa", 4)[:40], peer("aa", 4)[40:])
		if !half {
			break
		}
		if slowest < settle || time.Now().After(deadline) {
			t.Fatalf("the half of a file is in force, with a pause of %v: %s", slowest, describe(s.Snapshot()))
		}
		write(t, path, peer("a", 1)+peer("aa", 2))
		await(t, s, "a 1, aa 2", "")
	}
	await(t, s, "a 3, aa 4", "")
}

// writeInSteps writes a file in parts and tells whether a change was signalled meanwhile, and how long the
// longest pause was.
func writeInSteps(t *testing.T, s *Source, path string, parts ...string) (half bool, slowest time.Duration) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	must(t, err)
	defer func() { _ = file.Close() }()
	last := time.Now()
	for _, part := range parts {
		select {
		case <-time.After(settle / 4): // as a writer takes
		case <-s.Changed():
			half = true
		}
		_, err := file.WriteString(part)
		must(t, err)
		slowest = max(slowest, time.Since(last))
		last = time.Now()
	}
	return half, slowest
}

// TestConfigMap swaps the links of a mounted ConfigMap, as kubelet does.
func TestConfigMap(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	version := func(n int) {
		data := filepath.Join(dir, fmt.Sprintf("..%d", n))
		must(t, os.Mkdir(data, 0o700))
		write(t, filepath.Join(data, "a.yaml"), peer("a", n))
		must(t, os.Symlink(filepath.Base(data), filepath.Join(dir, "..data_tmp")))
		must(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
	}
	version(1)
	must(t, os.Symlink("..data/a.yaml", filepath.Join(dir, "a.yaml")))
	s := start(t, dir)
	for n := 2; n < 5; n++ {
		version(n)
		must(t, os.RemoveAll(filepath.Join(dir, fmt.Sprintf("..%d", n-1))))
		await(t, s, fmt.Sprintf("a %d", n), "")
	}
}

// TestFolderExchanged: the folder is a link that is swapped; is moved away and another put in its
// place; is gone for a while.
func TestFolderExchanged(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	dir := filepath.Join(top, "conf")
	release := func(n int) string {
		path := filepath.Join(top, fmt.Sprintf("release%d", n))
		must(t, os.Mkdir(path, 0o700))
		write(t, filepath.Join(path, "a.yaml"), peer("a", n))
		return path
	}
	must(t, os.Symlink(release(1), dir))
	s := start(t, dir)
	await(t, s, "a 1", "")
	must(t, os.Symlink(release(2), dir+"_"))
	must(t, os.Rename(dir+"_", dir))
	await(t, s, "a 2", "")
	write(t, filepath.Join(top, "release2", "a.yaml"), peer("a", 3))
	await(t, s, "a 3", "")

	must(t, os.Remove(dir))
	await(t, s, "a 3", "conf: cannot be read")
	must(t, os.Rename(release(4), dir)) // now a folder
	await(t, s, "a 4", "")
	must(t, os.Rename(dir, dir+".old"))
	must(t, os.Rename(release(5), dir))
	await(t, s, "a 5", "")
	write(t, filepath.Join(dir, "a.yaml"), peer("a", 6))
	await(t, s, "a 6", "")
}

// TestLinkOutside: a manifest that is a link to a file elsewhere is watched there.
func TestLinkOutside(t *testing.T) {
	t.Parallel()
	dir, outside := t.TempDir(), filepath.Join(t.TempDir(), "peers")
	write(t, outside, peer("a", 1))
	must(t, os.Symlink(outside, filepath.Join(dir, "a.yaml")))
	s := start(t, dir)
	await(t, s, "a 1", "")
	write(t, outside, peer("a", 2))
	await(t, s, "a 2", "")
}

// TestPasswordFiles: passwords are read anew when their files change, and stay when they go.
func TestPasswordFiles(t *testing.T) {
	t.Parallel()
	dir, secrets := t.TempDir(), t.TempDir()
	relative, absolute := filepath.Join(dir, "tor.password"), filepath.Join(secrets, "spine")
	write(t, relative, "one\n")
	write(t, filepath.Join(dir, "a.yaml"), strings.Replace(peer("a", 1), "asNumber: 1", "asNumber: 1, password: {file: tor.password}", 1)+
		strings.Replace(peer("b", 2), "asNumber: 2", "asNumber: 2, password: {file: "+absolute+"}", 1))
	s := start(t, dir)
	await(t, s, "a 1", "BGPPeer/b: spec.password.file: cannot be read: no such file")
	passwords := func(want string) {
		t.Helper()
		deadline := time.After(patience)
		for {
			snapshot, got := s.Snapshot(), ""
			for _, p := range snapshot.Peers {
				password, err := snapshot.Password(p)
				must(t, err)
				got += string(password) + " "
			}
			if got == want+" " {
				return
			}
			select {
			case <-s.Changed():
			case <-deadline:
				t.Fatalf("passwords %s, want %s; problems %v", got, want, snapshot.Problems)
			}
		}
	}
	passwords("one")
	write(t, absolute, "two")
	passwords("one two")
	await(t, s, "a 1, b 2", "")
	write(t, relative, "three\n")
	passwords("three two")
	must(t, os.Remove(absolute))
	await(t, s, "a 1, b 2", "cannot be read: no such file or directory: write the file, readable for the agent (the last good version stays in force)")
	passwords("three two")
	write(t, absolute+"_", "four\r\n")
	must(t, os.Rename(absolute+"_", absolute))
	passwords("three four")
	await(t, s, "a 1, b 2", "")
}

// TestSameAgain: reading what has not changed makes no difference, so that nobody is woken.
func TestSameAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.yaml"), peer("a", 1)+"a: [")
	f, err := open(dir)
	must(t, err)
	first := f.read()
	write(t, filepath.Join(dir, "a.yaml"), peer("a", 1)+"a: [")
	if second := f.read(); !second.Equal(first) {
		t.Errorf("read again:\n got %+v\nwant %+v", second, first)
	}
}

// TestLoop: links that lead in a circle end somewhere.
func TestLoop(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	must(t, os.Symlink("b.yaml", filepath.Join(dir, "a.yaml")))
	must(t, os.Symlink("a.yaml", filepath.Join(dir, "b.yaml")))
	s := start(t, dir)
	await(t, s, "", "too many levels of symbolic links")
	must(t, os.Remove(filepath.Join(dir, "b.yaml")))
	write(t, filepath.Join(dir, "b.yaml"), peer("a", 1))
	await(t, s, "a 1", "metadata.name") // the same object by both names
}
