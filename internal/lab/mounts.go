package lab

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// privateDirs are empty in every node whatever the host has there: where daemons keep sockets, where
// their configuration is bound, where CNI plugins and their settings go.
func privateDirs() []string {
	return []string{
		"/run", "/tmp", "/root", "/etc/bird", "/etc/frr", "/etc/cni/net.d", "/opt/cni/bin",
		"/var/lib/cni", "/var/lib/frr", "/var/log/frr", "/var/tmp/frr",
	}
}

// staging is where the new root is put together. It must exist on the host; what it holds is out of
// sight only in the node.
const staging = "/run"

// mountRoot gives the process a root of its own, in which nothing of the host can be changed but
// /dev and what is bound: the host's root file system, copy-on-write in memory, the host's other
// file systems read-only, new /proc and /sys, privateDirs empty, and the binds.
//
// Inside a user namespace the kernel lays no overlay over a root that has mounts on it. There the
// root is a folder in memory that holds the host's files and folders as read-only binds.
func mountRoot(binds []Bind, pathDir string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	r := &rootBuilder{root: filepath.Join(staging, "root")}
	defer r.close()
	if err := r.collect(binds, pathDir); err != nil {
		return err
	}
	user := inUserNS()
	if user {
		if err := r.mirror(); err != nil {
			return err
		}
	}
	if err := unix.Mount("tmpfs", staging, "tmpfs", 0, "mode=0755"); err != nil {
		return fmt.Errorf("mounting tmpfs: %w", err)
	}
	if err := r.base(user); err != nil {
		return err
	}
	for _, t := range append(r.mirrored, r.trees...) {
		if err := t.attach(r.root); err != nil {
			return err
		}
	}
	return pivot(r.root)
}

// tree is a detached copy of a mount, a kind of file system, or a symbolic link, and its place.
type tree struct {
	target string
	fd     int // from open_tree, or -1
	file   bool
	fstype string // if fd is -1
	link   string // if fstype is empty
}

type rootBuilder struct {
	root     string
	mirrored []tree
	trees    []tree // in the order in which they are mounted
}

func (r *rootBuilder) close() {
	for _, t := range append(r.mirrored, r.trees...) {
		if t.fd >= 0 {
			_ = unix.Close(t.fd)
		}
	}
}

// collect takes hold of everything that the staging mount or the pivot would put out of reach.
func (r *rootBuilder) collect(binds []Bind, pathDir string) error {
	mounts, err := mountsBelowRoot()
	if err != nil {
		return err
	}
	for _, m := range mounts {
		if m == "/proc" || m == "/sys" || slices.Contains(privateDirs(), m) {
			continue
		}
		if err := r.clone(m, m, m != "/dev"); err != nil {
			return err
		}
	}
	r.mount("proc", "/proc")
	r.mount("sysfs", "/sys")
	// Control groups and BPF objects hang below /sys and would vanish with the host's.
	for _, d := range []string{"/sys/fs/cgroup", "/sys/fs/bpf"} {
		if isMountPoint(d) {
			if err := r.clone(d, d, false); err != nil {
				return err
			}
		}
	}
	for _, d := range privateDirs() {
		r.mount("tmpfs", d)
	}
	for _, b := range append([]Bind{{Source: pathDir, Target: pathDir, ReadOnly: true}}, binds...) {
		target, err := followLinks(b.Target)
		if err == nil {
			err = r.clone(b.Source, target, b.ReadOnly)
		}
		if err != nil {
			return fmt.Errorf("bind %s: %w", b.Target, err)
		}
	}
	return nil
}

func (r *rootBuilder) mount(fstype, target string) {
	r.trees = append(r.trees, tree{target: target, fd: -1, fstype: fstype})
}

func (r *rootBuilder) clone(source, target string, readOnly bool) error {
	t, err := cloneTree(source, target, readOnly)
	if err == nil {
		r.trees = append(r.trees, t)
	}
	return err
}

func cloneTree(source, target string, readOnly bool) (tree, error) {
	st, err := os.Stat(source)
	if err != nil {
		return tree{}, err
	}
	// Recursive: inside a user namespace the kernel refuses to part a mount from those on top of it.
	fd, err := unix.OpenTree(unix.AT_FDCWD, source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return tree{}, fmt.Errorf("open_tree %s: %w", source, err)
	}
	if readOnly {
		attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
		if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &attr); err != nil {
			_ = unix.Close(fd)
			return tree{}, fmt.Errorf("mount_setattr %s: %w", source, err)
		}
	}
	return tree{target: target, fd: fd, file: !st.IsDir()}, nil
}

// mirror prepares the root of a plain user's node: of each folder above a mount point everything
// that is not a mount point itself.
func (r *rootBuilder) mirror() error {
	taken := map[string]bool{} // mount points and the folders above them
	for _, t := range r.trees {
		taken[t.target] = false
	}
	for _, t := range r.trees {
		for d := filepath.Dir(t.target); ; d = filepath.Dir(d) {
			if _, covered := taken[d]; covered && !taken[d] {
				break // inside another mount
			}
			taken[d] = true
			if d == "/" {
				break
			}
		}
	}
	for _, dir := range sortedKeys(taken) {
		if !taken[dir] || slices.ContainsFunc(r.trees, func(t tree) bool { return strings.HasPrefix(dir, t.target+"/") }) {
			continue
		}
		entries, err := os.ReadDir(dir)
		if err != nil && !os.IsNotExist(err) && !os.IsPermission(err) {
			return err
		}
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			if _, ok := taken[path]; ok {
				continue
			}
			if err := r.mirrorEntry(path, e.Type()); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *rootBuilder) mirrorEntry(path string, mode os.FileMode) error {
	if mode&os.ModeSymlink != 0 {
		to, err := os.Readlink(path)
		r.mirrored = append(r.mirrored, tree{target: path, fd: -1, link: to})
		return err
	}
	t, err := cloneTree(path, path, true)
	if os.IsNotExist(err) {
		return nil // removed meanwhile
	}
	if err == nil {
		r.mirrored = append(r.mirrored, t)
	}
	return err
}

// base is what everything else is mounted on.
func (r *rootBuilder) base(user bool) error {
	if err := os.Mkdir(r.root, 0o755); err != nil {
		return err
	}
	if user {
		return unix.Mount("tmpfs", r.root, "tmpfs", 0, "mode=0755")
	}
	upper, work := filepath.Join(staging, "upper"), filepath.Join(staging, "work")
	for _, d := range []string{upper, work} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return err
		}
	}
	options := fmt.Sprintf("lowerdir=/,upperdir=%s,workdir=%s", upper, work)
	if err := unix.Mount("overlay", r.root, "overlay", 0, options); err != nil {
		return fmt.Errorf("mounting an overlay on the host's root file system: %w", err)
	}
	return nil
}

// attach mounts a tree on the new root.
func (t tree) attach(root string) error {
	at := filepath.Join(root, t.target)
	if t.fd < 0 && t.fstype == "" {
		return errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.Symlink(t.link, at))
	}
	if err := makeMountPoint(at, t.file); err != nil {
		return fmt.Errorf("mount point %s: %w", t.target, err)
	}
	if t.fd >= 0 {
		if err := unix.MoveMount(t.fd, "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
			return fmt.Errorf("mounting on %s: %w", t.target, err)
		}
		return nil
	}
	data := ""
	switch {
	case t.target == "/tmp":
		data = "mode=1777"
	case t.fstype == "tmpfs":
		data = "mode=0755"
	}
	if err := unix.Mount(t.fstype, at, t.fstype, unix.MS_NOSUID|unix.MS_NODEV, data); err != nil {
		return fmt.Errorf("mounting %s on %s: %w", t.fstype, t.target, err)
	}
	return nil
}

func makeMountPoint(at string, file bool) error {
	if !file {
		return os.MkdirAll(at, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return err
	}
	if _, err := os.Lstat(at); err == nil {
		return nil
	}
	return os.WriteFile(at, nil, 0o644)
}

func pivot(root string) error {
	if err := os.Chdir(root); err != nil {
		return err
	}
	// The old root goes on top of the new one and is then let go: pivot_root(2), "pivot_root(".", ".")".
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("letting go of the host's root: %w", err)
	}
	return os.Chdir("/")
}

// followLinks resolves what exists of a path, so that a bind on /var/run/x lands below /run.
func followLinks(path string) (string, error) {
	rest := ""
	for p := path; ; p = filepath.Dir(p) {
		real, err := filepath.EvalSymlinks(p)
		if err == nil {
			return filepath.Join(real, rest), nil
		}
		// What a plain user may not look into is as good as absent: see privateDirs.
		if p == "/" || !os.IsNotExist(err) && !os.IsPermission(err) {
			return "", err
		}
		rest = filepath.Join(filepath.Base(p), rest)
	}
}

// mountsBelowRoot lists the mount points directly below the root mount; what is mounted on those
// comes along with them.
func mountsBelowRoot() ([]string, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	type mount struct{ id, parent, point string }
	var all []mount
	root := ""
	for s := bufio.NewScanner(bytes.NewReader(text)); s.Scan(); {
		f := strings.Fields(s.Text())
		if len(f) < 5 {
			continue
		}
		m := mount{f[0], f[1], strings.NewReplacer(`\040`, " ", `\011`, "\t", `\134`, `\`).Replace(f[4])}
		all = append(all, m)
		if m.point == "/" {
			root = m.id // the last one is on top
		}
	}
	var points []string
	for _, m := range all {
		if m.parent == root && m.point != "/" && !slices.Contains(points, m.point) {
			points = append(points, m.point)
		}
	}
	return points, nil
}

func isMountPoint(dir string) bool {
	var a, b unix.Stat_t
	return unix.Stat(dir, &a) == nil && unix.Stat(filepath.Dir(dir), &b) == nil && a.Dev != b.Dev
}
