package cni

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// listen opens the socket under a name of its own, closes it to all but its owner, and only then
// moves it to where the plugin looks, in place of one that a predecessor left behind: there is no
// moment in which others could connect. A predecessor that still answers is an error.
func listen(ctx context.Context, path string) (*net.UnixListener, error) {
	d := net.Dialer{Timeout: time.Second}
	if c, err := d.DialContext(ctx, "unix", path); err == nil {
		_ = c.Close()
		return nil, fmt.Errorf("listen on %s: another agent answers there; stop it first", path)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make the socket's directory: %w", err)
	}
	tmp := fmt.Sprintf("%s.%d", path, os.Getpid())
	if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove an old socket: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: tmp, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // it would unlink tmp
	if err := os.Chmod(tmp, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("close the socket to others: %w", err), l.Close(), os.Remove(tmp))
	}
	if err := os.Rename(tmp, path); err != nil {
		return nil, errors.Join(fmt.Errorf("move the socket into place: %w", err), l.Close(), os.Remove(tmp))
	}
	return l, nil
}

// listen opens the server's socket.
func (s *Server) listen(ctx context.Context) error {
	l, err := listen(ctx, s.socket)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listener, s.inode = l, inode(s.socket)
	return nil
}

// close gives the socket up before anybody has served it.
func (s *Server) close() error {
	s.unlisten()
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.listener
	s.listener = nil
	return l.Close()
}

// unlisten removes the socket's name, unless a successor has taken it over. The listener itself is
// closed by the server that uses it.
func (s *Server) unlisten() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if inode(s.socket) == s.inode {
		_ = os.Remove(s.socket)
	}
}

// inode is 0 where there is no such file.
func inode(path string) uint64 {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return 0
	}
	return st.Ino
}
