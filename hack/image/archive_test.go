package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// sources are files whose times, modes and order differ from call to call.
func sources(t *testing.T, turned bool) []file {
	t.Helper()
	var files []file
	for _, path := range []string{"podroute", "opt/cni/bin/podroute-cni", "LICENSE"} {
		from := filepath.Join(t.TempDir(), "x")
		if err := os.WriteFile(from, []byte("content of "+path), 0o600); err != nil {
			t.Fatal(err)
		}
		at := time.Unix(int64(len(files)+1), 0)
		if turned {
			at = time.Now()
		}
		if err := os.Chtimes(from, at, at); err != nil {
			t.Fatal(err)
		}
		files = append(files, file{kind: tar.TypeReg, path: path, mode: 0o755, from: from})
	}
	if turned {
		slices.Reverse(files)
	}
	return files
}

// TestReproducible: the same files give the same image, and it reads as what it is.
func TestReproducible(t *testing.T) {
	t.Parallel()
	var archives [2][]byte
	for i := range archives {
		img, err := assemble(sources(t, i == 1), "arm64", "v1")
		if err != nil {
			t.Fatal(err)
		}
		b := build{tag: "example.org/podroute:v1", out: filepath.Join(t.TempDir(), "new", "image.tar")}
		if err := b.save(img); err != nil {
			t.Fatal(err)
		}
		if archives[i], err = os.ReadFile(b.out); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Error("two builds differ")
	}
	tag, err := name.NewTag("example.org/podroute:v1")
	if err != nil {
		t.Fatal(err)
	}
	img, err := tarball.Image(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archives[0])), nil }, &tag)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.Architecture != "arm64" || config.OS != "linux" || !slices.Equal(config.Config.Entrypoint, []string{"/podroute"}) {
		t.Errorf("config: %+v", config)
	}
}

// TestLayer: every folder comes before what is in it; all is root's and of the epoch.
func TestLayer(t *testing.T) {
	t.Parallel()
	text, err := layer(sources(t, false))
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for r := tar.NewReader(bytes.NewReader(text)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 || h.ModTime.Unix() != 0 {
			t.Errorf("%s: owner %d:%d, time %v", h.Name, h.Uid, h.Gid, h.ModTime)
		}
		fmt.Fprintf(&got, "%o %s %s\n", h.Mode, h.Name, h.Linkname)
	}
	const want = `755 LICENSE 
755 opt/ 
755 opt/cni/ 
755 opt/cni/bin/ 
755 opt/cni/bin/podroute-cni 
755 podroute 
755 run/ 
755 var/ 
777 var/run ../run
`
	if got.String() != want {
		t.Errorf("layer:\n%swant:\n%s", got.String(), want)
	}
}
