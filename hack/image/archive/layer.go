package archive

import (
	"archive/tar"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Layer is a file system to be: by absolute path, what is there. What is put at a path takes the place of what was;
// the folders above come by themselves. The zero Layer is empty.
type Layer struct{ entries map[string]entry }

// entry is a folder, a symbolic link, or a file: with text, or with what a file of this machine holds.
type entry struct {
	header tar.Header
	source string
	text   string
}

// Dir puts a folder.
func (l *Layer) Dir(name string, mode int64) {
	l.put(name, entry{header: tar.Header{Typeflag: tar.TypeDir, Mode: mode}})
}

// Link puts a symbolic link.
func (l *Layer) Link(name, target string) {
	l.put(name, entry{header: tar.Header{Typeflag: tar.TypeSymlink, Linkname: target, Mode: 0o777}})
}

// Text puts a file that all may read.
func (l *Layer) Text(name, text string) {
	l.put(name, entry{header: tar.Header{Typeflag: tar.TypeReg, Mode: 0o644}, text: text})
}

// Copy puts a file with what a file of this machine holds when the layer is written.
func (l *Layer) Copy(source, name string, mode int64) {
	l.put(name, entry{header: tar.Header{Typeflag: tar.TypeReg, Mode: mode}, source: source})
}

func (l *Layer) put(name string, e entry) {
	if l.entries == nil {
		l.entries = map[string]entry{}
	}
	for d := path.Dir(name); d != "/"; d = path.Dir(d) {
		if _, ok := l.entries[d]; !ok {
			l.entries[d] = entry{header: tar.Header{Typeflag: tar.TypeDir, Mode: 0o755}}
		}
	}
	l.entries[name] = e
}

// names in an order in which a folder comes before what is in it.
func (l *Layer) names() []string { return slices.Sorted(maps.Keys(l.entries)) }

// write writes the layer as a tar archive.
func (l *Layer) write(w io.Writer) error {
	t := tar.NewWriter(w)
	for _, name := range l.names() {
		if err := l.entries[name].write(t, strings.TrimPrefix(name, "/")); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return t.Close()
}

func (e entry) write(t *tar.Writer, name string) error {
	content, size, err := e.open()
	if err != nil {
		return err
	}
	defer func() { _ = content.Close() }()
	h := e.header
	h.Name, h.Size, h.ModTime = name, size, time.Unix(0, 0)
	if h.Typeflag == tar.TypeDir {
		h.Name += "/"
	}
	if err := t.WriteHeader(&h); err != nil {
		return err
	}
	_, err = io.Copy(t, content)
	return err
}

// open gives a file's content and how long it is.
func (e entry) open() (io.ReadCloser, int64, error) {
	if e.source == "" {
		return io.NopCloser(strings.NewReader(e.text)), int64(len(e.text)), nil
	}
	f, err := os.Open(e.source)
	if err != nil {
		return nil, 0, err
	}
	st, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return nil, 0, err
	}
	return f, st.Size(), nil
}

// Unpack puts what the layer holds into a folder, which is created, for a Dockerfile to copy.
func (l *Layer) Unpack(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, name := range l.names() {
		if err := l.entries[name].unpack(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

func (e entry) unpack(at string) error {
	switch mode := fs.FileMode(e.header.Mode); e.header.Typeflag {
	case tar.TypeDir:
		return os.MkdirAll(at, mode)
	case tar.TypeSymlink:
		return os.Symlink(e.header.Linkname, at)
	default:
		content, _, err := e.open()
		if err != nil {
			return err
		}
		defer func() { _ = content.Close() }()
		text, err := io.ReadAll(content)
		if err != nil {
			return err
		}
		return os.WriteFile(at, text, mode)
	}
}
