package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// file is a file, folder or symbolic link of the image; root owns it.
type file struct {
	kind   byte   // as in a tar archive
	path   string // in the image, without a leading slash; a folder's ends with one
	mode   int64
	from   string // where a file's content is
	target string // of a symbolic link
}

// assemble makes an image of one layer. Every time in it is the Unix epoch.
func assemble(files []file, arch, version string) (v1.Image, error) {
	text, err := layer(files)
	if err != nil {
		return nil, err
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil })
	if err != nil {
		return nil, err
	}
	img, err := mutate.AppendLayers(empty.Image, l)
	if err != nil {
		return nil, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.Architecture, config.OS = arch, "linux"
	config.Created = v1.Time{Time: time.Unix(0, 0).UTC()}
	config.Config = v1.Config{
		Entrypoint: []string{"/podroute"},
		Env:        []string{"PATH=/"}, // kubectl exec … -- podroute status
		WorkingDir: "/",
		Labels: map[string]string{
			"org.opencontainers.image.title":       "podroute",
			"org.opencontainers.image.description": "Natively routed pod networking over BGP",
			"org.opencontainers.image.licenses":    "Apache-2.0",
			"org.opencontainers.image.version":     version,
		},
	}
	return mutate.ConfigFile(img, config)
}

// layer writes what the image holds as a tar archive.
func layer(files []file) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range tree(files) {
		h := &tar.Header{Typeflag: f.kind, Name: f.path, Linkname: f.target, Mode: f.mode, ModTime: time.Unix(0, 0)}
		var content []byte
		if f.kind == tar.TypeReg {
			var err error
			if content, err = os.ReadFile(f.from); err != nil {
				return nil, err
			}
			h.Size = int64(len(content))
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(content); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return out.Bytes(), err
}

// tree is the files, the folders that they are in, and what else a container needs: folders first.
func tree(files []file) []file {
	all := slices.Clone(files)
	folders := []string{"run", "var"}
	for _, f := range files {
		for dir := path.Dir(f.path); dir != "."; dir = path.Dir(dir) {
			folders = append(folders, dir)
		}
	}
	slices.Sort(folders)
	for _, dir := range slices.Compact(folders) {
		all = append(all, file{kind: tar.TypeDir, path: dir + "/", mode: 0o755})
	}
	// Runtimes name a pod's network namespace by either path; the DaemonSet mounts /run/netns.
	all = append(all, file{kind: tar.TypeSymlink, path: "var/run", target: "../run", mode: 0o777})
	slices.SortFunc(all, func(a, b file) int { return strings.Compare(a.path, b.path) })
	return all
}

// write puts the files into a folder, for a Dockerfile to copy.
func write(files []file, dir string) error {
	for _, f := range tree(files) {
		at := filepath.Join(dir, f.path)
		var err error
		switch f.kind {
		case tar.TypeDir:
			err = os.MkdirAll(at, fs.FileMode(f.mode))
		case tar.TypeSymlink:
			err = os.Symlink(f.target, at)
		default:
			var content []byte
			if content, err = os.ReadFile(f.from); err == nil {
				err = os.WriteFile(at, content, fs.FileMode(f.mode))
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// save writes the archive, whole or not at all.
func (b build) save(img v1.Image) error {
	tag, err := name.NewTag(b.tag)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(b.out), 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(b.out), ".image-*.tmp")
	if err != nil {
		return err
	}
	err = errors.Join(tarball.Write(tag, img, tmp), tmp.Chmod(0o644), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), b.out)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("save %v: %w", tag, err), os.Remove(tmp.Name()))
	}
	return nil
}
