package file

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/podroute/podroute/config"
)

// folder is what is known of the folder and its files.
type folder struct {
	dir   string // absolute; may be a symbolic link
	files map[string]*manifest
	names []string // of files, sorted
	// passwords are the paths of the password files that peers refer to.
	passwords []string
	builder   config.Builder
	// places are the real paths whose change matters, besides manifests in the folder.
	places map[string]bool
	real   string // dir without symbolic links
}

// manifest is a file and what is in force of it.
type manifest struct {
	sum      [sha256.Size]byte // of its text
	objects  []config.Object
	problems []config.Problem // of the file; its objects have their own
}

// read reads what has changed and returns what is in force.
func (f *folder) read() config.Snapshot {
	var in config.Input
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		in.Problems = append(in.Problems, config.Problem{
			Source: f.dir, Message: fmt.Sprintf("cannot be read: %v", reason(err)), Mend: "put the folder back", Kept: true,
		})
	} else {
		f.names = nil
		for _, e := range entries {
			if isManifest(e.Name()) {
				f.names = append(f.names, e.Name())
			}
		}
		for name := range f.files {
			if !slices.Contains(f.names, name) {
				delete(f.files, name)
			}
		}
		for _, name := range f.names {
			f.readManifest(name)
		}
	}
	for _, name := range f.names {
		m := f.files[name]
		in.Objects = append(in.Objects, m.objects...)
		in.Problems = append(in.Problems, m.problems...)
	}
	f.passwords = nil
	in.ReadFile = f.readPassword
	snapshot := f.builder.Build(in)
	f.locate()
	return snapshot
}

// readManifest reads a file if its text has changed.
func (f *folder) readManifest(name string) {
	m := f.files[name]
	if m == nil {
		m = &manifest{}
		f.files[name] = m
	}
	text, err := readRegular(filepath.Join(f.dir, name), config.MaxFile+1)
	if err != nil {
		m.sum = [sha256.Size]byte{} // read it anew next time
		m.problems = []config.Problem{{
			Source: name, Message: fmt.Sprintf("cannot be read: %v", reason(err)), Mend: "make it a file that the agent can read, or remove it",
			Kept: len(m.objects) > 0, Fatal: len(m.objects) == 0,
		}}
		return
	}
	sum := sha256.Sum256(text)
	if sum == m.sum {
		return
	}
	parsed := config.Parse(name, text)
	m.sum, m.problems = sum, parsed.Problems
	var kept bool
	m.objects, kept = parsed.Over(m.objects)
	for i := range m.problems {
		m.problems[i].Kept = kept
	}
}

// readPassword reads a password file, whose path may be relative to the folder.
func (f *folder) readPassword(name string) ([]byte, error) {
	if !filepath.IsAbs(name) {
		name = filepath.Join(f.dir, name)
	}
	f.passwords = append(f.passwords, name)
	const most = 4096 // far more than a password may have
	text, err := readRegular(name, most)
	if err != nil {
		return nil, reason(err)
	}
	return text, nil
}

// readRegular reads a file of which at most the first limit bytes count. It does not wait for the other
// end of a pipe.
func readRegular(path string, limit int64) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("is no regular file")
	}
	return io.ReadAll(io.LimitReader(file, limit))
}

// reason is an error without the path, which stands beside it.
func reason(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

func isManifest(name string) bool {
	if strings.HasPrefix(name, ".") {
		return false
	}
	switch filepath.Ext(name) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

// locate finds the places whose change matters: the folder, the files, and every symbolic link on the
// way to them.
func (f *folder) locate() {
	f.places = map[string]bool{}
	f.real = f.follow(f.dir)
	for _, name := range f.names {
		f.follow(filepath.Join(f.dir, name))
	}
	for _, path := range f.passwords {
		f.follow(path)
	}
}

// follow notes the symbolic links on an absolute path, and its end, as far as there is one, and
// returns the real path.
func (f *folder) follow(path string) string {
	const most = 40 // links, as the kernel does
	links, real := 0, "/"
	rest := strings.Split(strings.Trim(filepath.Clean(path), "/"), "/")
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			real = filepath.Dir(real)
			continue
		}
		next := filepath.Join(real, name)
		target, err := os.Readlink(next)
		if err != nil { // no link, or not there
			if _, err := os.Lstat(next); err != nil {
				f.places[next] = true
				return filepath.Join(append([]string{next}, rest...)...)
			}
			real = next
			continue
		}
		f.places[next] = true
		if links++; links > most {
			return next
		}
		if filepath.IsAbs(target) {
			real = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	f.places[real] = true
	return real
}

// directories are those that hold the places, and the folder.
func (f *folder) directories() map[string]bool {
	dirs := map[string]bool{}
	for place := range f.places {
		dirs[filepath.Dir(place)] = true
	}
	if info, err := os.Stat(f.real); err == nil && info.IsDir() {
		dirs[f.real] = true
	}
	for dir := range dirs {
		if _, err := os.Stat(dir); err != nil {
			delete(dirs, dir) // a place that is not there, in a directory that is not there
		}
	}
	return dirs
}

// concerns tells whether an event at a real path is worth a look.
func (f *folder) concerns(path string) bool {
	return f.places[path] || filepath.Dir(path) == f.real && isManifest(filepath.Base(path))
}
