package archive

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Image is what an image says of itself. It is for linux.
type Image struct {
	// Names are NAME:TAG each, Arch as GOARCH names it.
	Names  []string
	Arch   string
	Config Config
}

// Config is how its containers are run (OCI Image Configuration).
type Config struct {
	Entrypoint []string          `json:"Entrypoint,omitempty"`
	Cmd        []string          `json:"Cmd,omitempty"`
	Env        []string          `json:"Env,omitempty"` // NAME=VALUE
	WorkingDir string            `json:"WorkingDir,omitempty"`
	Labels     map[string]string `json:"Labels,omitempty"`
}

// Write writes the image with its one layer, the whole file or none, and returns the image's ID.
func (i Image) Write(file string, l *Layer) (id string, err error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return "", err
	}
	out, err := os.CreateTemp(filepath.Dir(file), ".image-*.tmp")
	if err != nil {
		return "", err
	}
	id, err = i.write(out, l)
	err = errors.Join(err, out.Chmod(0o644), out.Close())
	if err == nil {
		err = os.Rename(out.Name(), file)
	}
	if err != nil {
		return "", errors.Join(fmt.Errorf("write %s: %w", file, err), os.Remove(out.Name()))
	}
	return id, nil
}

// write writes the layer, a configuration named by its digest, and a manifest that names both.
func (i Image) write(out *os.File, l *Layer) (id string, err error) {
	scratch, err := os.CreateTemp(filepath.Dir(out.Name()), ".layer-*.tmp")
	if err != nil {
		return "", err
	}
	defer func() { _, _ = scratch.Close(), os.Remove(scratch.Name()) }()
	sum := sha256.New()
	if err := l.write(io.MultiWriter(scratch, sum)); err != nil {
		return "", err
	}
	const epoch = "1970-01-01T00:00:00Z"
	config, err := json.Marshal(map[string]any{
		"architecture": i.Arch, "os": "linux", "created": epoch, "config": i.Config,
		"rootfs":  map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + hex.EncodeToString(sum.Sum(nil))}},
		"history": []map[string]string{{"created": epoch}},
	})
	if err != nil {
		return "", err
	}
	digest := sha256.Sum256(config)
	id = hex.EncodeToString(digest[:])
	manifest, err := json.Marshal([]map[string]any{{"Config": id + ".json", "RepoTags": i.Names, "Layers": []string{"layer.tar"}}})
	if err != nil {
		return "", err
	}
	t := tar.NewWriter(out)
	file := tar.Header{Typeflag: tar.TypeReg, Mode: 0o644}
	err = errors.Join(
		entry{header: file, text: string(config)}.write(t, id+".json"),
		entry{header: file, source: scratch.Name()}.write(t, "layer.tar"),
		entry{header: file, text: string(manifest)}.write(t, "manifest.json"),
		t.Close())
	return "sha256:" + id, err
}
