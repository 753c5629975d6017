package images

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// layer is a file system to be: by path, what is there. Two layers of the same content are the same
// bytes.
type layer struct{ entries map[string]entry }

type entry struct {
	source string // file of the host to copy, or empty
	header tar.Header
	text   string
}

func newLayer() *layer { return &layer{entries: map[string]entry{}} }

func (l *layer) put(name string, e entry) {
	for d := path.Dir(name); d != "/"; d = path.Dir(d) {
		if _, ok := l.entries[d]; !ok {
			l.entries[d] = entry{header: tar.Header{Typeflag: tar.TypeDir, Mode: 0o755}}
		}
	}
	l.entries[name] = e
}

func (l *layer) dir(name string, mode int64) {
	l.put(name, entry{header: tar.Header{Typeflag: tar.TypeDir, Mode: mode}})
}

func (l *layer) link(name, to string) {
	l.put(name, entry{header: tar.Header{Typeflag: tar.TypeSymlink, Linkname: to, Mode: 0o777}})
}

func (l *layer) text(name, text string) {
	l.put(name, entry{header: tar.Header{Typeflag: tar.TypeReg, Mode: 0o644}, text: text})
}

// copy takes a file of the host, executable for all.
func (l *layer) copy(source, name string) {
	l.put(name, entry{header: tar.Header{Typeflag: tar.TypeReg, Mode: 0o755}, source: source})
}

func (l *layer) program(bin, program, name string) error {
	source := filepath.Join(bin, program)
	if _, err := os.Stat(source); err != nil {
		return err
	}
	l.copy(source, name)
	return nil
}

// tool takes one of Debian's programs, with its libraries, to /bin.
func (l *layer) tool(ctx context.Context, name string) error {
	found, err := exec.LookPath(name)
	if err != nil {
		return fmt.Errorf("%w: install it on this machine", err)
	}
	file, err := filepath.EvalSymlinks(found)
	if err != nil {
		return err
	}
	l.copy(file, "/bin/"+name)
	needed, err := libraries(ctx, file)
	if err != nil {
		return err
	}
	for _, lib := range needed {
		l.copy(lib, lib)
	}
	return nil
}

func (l *layer) write(w io.Writer) error {
	t := tar.NewWriter(w)
	names := make([]string, 0, len(l.entries))
	for name := range l.entries {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := l.entries[name].write(t, name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return t.Close()
}

func (e entry) write(t *tar.Writer, name string) error {
	h := e.header
	h.Name, h.ModTime = strings.TrimPrefix(name, "/"), time.Unix(0, 0)
	content := io.Reader(strings.NewReader(e.text))
	h.Size = int64(len(e.text))
	if e.source != "" {
		f, err := os.Open(e.source)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		st, err := f.Stat()
		if err != nil {
			return err
		}
		h.Size, content = st.Size(), f
	}
	if err := t.WriteHeader(&h); err != nil {
		return err
	}
	_, err := io.Copy(t, content)
	return err
}

// write writes the image as a docker-archive: the layer, a configuration named by its digest, a manifest.
func (i image) write(file string, l *layer) error {
	scratch, err := os.CreateTemp(filepath.Dir(file), "layer-")
	if err != nil {
		return err
	}
	defer func() { _, _ = scratch.Close(), os.Remove(scratch.Name()) }()
	sum := sha256.New()
	if err := l.write(io.MultiWriter(scratch, sum)); err != nil {
		return err
	}
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH,
		"os":           "linux",
		"config": map[string]any{
			"Entrypoint": i.entrypoint, "Cmd": i.command,
			"Env": []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/"},
		},
		"rootfs":  map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + hex.EncodeToString(sum.Sum(nil))}},
		"history": []map[string]string{{"created": "1970-01-01T00:00:00Z"}},
	})
	if err != nil {
		return err
	}
	digest := sha256.Sum256(config)
	configName := hex.EncodeToString(digest[:]) + ".json"
	manifest, err := json.Marshal([]map[string]any{{"Config": configName, "RepoTags": i.names, "Layers": []string{"layer.tar"}}})
	if err != nil {
		return err
	}
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()
	t := tar.NewWriter(out)
	for _, e := range []struct {
		name string
		entry
	}{
		{configName, entry{text: string(config)}},
		{"layer.tar", entry{source: scratch.Name()}},
		{"manifest.json", entry{text: string(manifest)}},
	} {
		e.header = tar.Header{Typeflag: tar.TypeReg, Mode: 0o644}
		if err := e.write(t, e.name); err != nil {
			return err
		}
	}
	if err := t.Close(); err != nil {
		return err
	}
	return out.Close()
}
