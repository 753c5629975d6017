package cni

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// netNS is an open network namespace.
type netNS struct {
	file *os.File
	id   nsID
}

// nsID tells namespaces apart, whatever paths lead to them.
type nsID struct{ dev, ino uint64 }

// openNetNS opens a path that a container runtime gave us, which may be anything.
func openNetNS(path string) (*netNS, error) {
	// O_NONBLOCK: a FIFO would hold us.
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("open network namespace %s: %w", path, err)
	}
	ns := &netNS{file: os.NewFile(uintptr(fd), path)}
	if err := ns.identify(); err != nil {
		_ = ns.file.Close()
		return nil, err
	}
	return ns, nil
}

func (ns *netNS) identify() error {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(ns.fd(), &fs); err != nil {
		return fmt.Errorf("statfs %s: %w", ns.file.Name(), err)
	}
	if fs.Type != unix.NSFS_MAGIC {
		return fmt.Errorf("%s is not a namespace", ns.file.Name())
	}
	if typ, err := unix.IoctlRetInt(ns.fd(), unix.NS_GET_NSTYPE); err != nil || typ != unix.CLONE_NEWNET {
		return fmt.Errorf("%s is a namespace, but not a network namespace", ns.file.Name())
	}
	var st unix.Stat_t
	if err := unix.Fstat(ns.fd(), &st); err != nil {
		return fmt.Errorf("stat %s: %w", ns.file.Name(), err)
	}
	ns.id = nsID{dev: st.Dev, ino: st.Ino}
	return nil
}

func (ns *netNS) fd() int { return int(ns.file.Fd()) }

func (ns *netNS) close() { _ = ns.file.Close() }
