package archive

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// sample is a layer with one of everything. The file that it copies has another time from call to call, and where
// turned is set things are put in another order.
func sample(t *testing.T, turned bool) *Layer {
	t.Helper()
	source := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(source, []byte("a program"), 0o600); err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1, 0)
	if turned {
		at = time.Now()
	}
	if err := os.Chtimes(source, at, at); err != nil {
		t.Fatal(err)
	}
	var l Layer
	put := []func(){
		func() { l.Copy(source, "/opt/bin/program", 0o755) },
		func() { l.Text("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n") },
		func() { l.Dir("/tmp", 0o1777) },
		func() { l.Link("/var/run", "../run") },
	}
	for i := range put {
		if turned {
			i = len(put) - 1 - i
		}
		put[i]()
	}
	return &l
}

// TestImage: the same files give the same bytes, which are an archive of the parts that its manifest names.
func TestImage(t *testing.T) {
	t.Parallel()
	var archives [2][]byte
	var id string
	for i := range archives {
		file := filepath.Join(t.TempDir(), "new", "image.tar")
		img := Image{Names: []string{"example.org/x:v1"}, Arch: "arm64", Config: Config{Entrypoint: []string{"/opt/bin/program"}}}
		var err error
		if id, err = img.Write(file, sample(t, i == 1)); err != nil {
			t.Fatal(err)
		}
		if archives[i], err = os.ReadFile(file); err != nil {
			t.Fatal(err)
		}
		if left, err := os.ReadDir(filepath.Dir(file)); err != nil || len(left) != 1 {
			t.Errorf("beside the archive: %v, %v", left, err)
		}
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Error("two archives of the same files differ")
	}
	parts := map[string]string{}
	for _, h := range read(t, archives[0]) {
		parts[h.Name] = h.content
	}
	var manifest []struct {
		Config           string
		RepoTags, Layers []string
	}
	var config struct {
		Architecture, OS string
		Config           Config
	}
	if err := json.Unmarshal([]byte(parts["manifest.json"]), &manifest); err != nil || len(manifest) != 1 {
		t.Fatalf("manifest %s: %v", parts["manifest.json"], err)
	}
	m := manifest[0]
	if err := json.Unmarshal([]byte(parts[m.Config]), &config); err != nil {
		t.Fatalf("configuration: %v", err)
	}
	if "sha256:"+strings.TrimSuffix(m.Config, ".json") != id || fmt.Sprint(m.RepoTags) != "[example.org/x:v1]" ||
		len(m.Layers) != 1 || parts[m.Layers[0]] == "" || config.Architecture != "arm64" || config.OS != "linux" ||
		fmt.Sprint(config.Config.Entrypoint) != "[/opt/bin/program]" {
		t.Errorf("image %s: manifest %+v, configuration %+v", id, m, config)
	}
}

// TestLayer: every folder comes before what is in it; all is root's and of the epoch.
func TestLayer(t *testing.T) {
	t.Parallel()
	var text bytes.Buffer
	if err := sample(t, true).write(&text); err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, h := range read(t, text.Bytes()) {
		if h.Uid != 0 || h.Gid != 0 || h.ModTime.Unix() != 0 {
			t.Errorf("%s: owner %d:%d, time %v", h.Name, h.Uid, h.Gid, h.ModTime)
		}
		fmt.Fprintf(&got, "%o %s %s%s\n", h.Mode, h.Name, h.Linkname, h.content)
	}
	const want = `755 etc/ 
644 etc/passwd root:x:0:0:root:/root:/bin/sh

755 opt/ 
755 opt/bin/ 
755 opt/bin/program a program
1777 tmp/ 
755 var/ 
777 var/run ../run
`
	if got.String() != want {
		t.Errorf("layer:\n%swant:\n%s", got.String(), want)
	}
}

// TestUnpack: a folder gets the same files.
func TestUnpack(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new")
	if err := sample(t, false).Unpack(dir); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "opt/bin/program")); err != nil || string(text) != "a program" {
		t.Errorf("program: %q, %v", text, err)
	}
	if target, err := os.Readlink(filepath.Join(dir, "var/run")); err != nil || target != "../run" {
		t.Errorf("link to %q, %v", target, err)
	}
}

type part struct {
	*tar.Header
	content string
}

func read(t *testing.T, text []byte) (parts []part) {
	t.Helper()
	for r := tar.NewReader(bytes.NewReader(text)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return parts
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, part{h, string(content)})
	}
}
