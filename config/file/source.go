package file

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/podroute/podroute/config"
)

const (
	settle     = 200 * time.Millisecond // the folder has been quiet this long when it is read
	settleMost = 3 * time.Second        // but it is read this long after the first event
	secondLook = 30 * time.Second
)

// Source is a folder of manifests.
type Source struct {
	log     *slog.Logger
	changed chan struct{}
	folder  *folder // Run's, after New

	mu       sync.Mutex
	snapshot config.Snapshot
}

// New reads the folder. A folder that is not there is an error; files that are bad are Problems of the
// snapshot.
func New(dir string, log *slog.Logger) (*Source, error) {
	f, err := open(dir)
	if err != nil {
		return nil, err
	}
	s := &Source{log: log, changed: make(chan struct{}, 1), folder: f}
	s.snapshot = f.read()
	config.LogProblems(log, nil, s.snapshot.Problems)
	return s, nil
}

// Load reads the folder once, for looking at it without running.
func Load(dir string) (config.Snapshot, error) {
	f, err := open(dir)
	if err != nil {
		return config.Snapshot{}, err
	}
	return f.read(), nil
}

func open(dir string) (*folder, error) {
	path, err := filepath.Abs(dir)
	if err == nil {
		_, err = os.ReadDir(path)
	}
	if err != nil {
		return nil, fmt.Errorf("configuration folder %s: %w: create it, or name another", dir, err)
	}
	return &folder{dir: path, files: map[string]*manifest{}}, nil
}

// Snapshot returns the configuration in force.
func (s *Source) Snapshot() config.Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.snapshot
}

// Changed signals that Snapshot returns another value than before.
func (s *Source) Changed() <-chan struct{} { return s.changed }

// Run watches the folder until ctx ends, and then returns nil.
func (s *Source) Run(ctx context.Context) error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch configuration folder %s: %w: raise fs.inotify.max_user_instances", s.folder.dir, err)
	}
	defer func() { _ = watcher.Close() }()

	s.watch(watcher)
	quiet := time.NewTimer(settle) // the first look finds what changed since New
	defer quiet.Stop()
	again := time.NewTicker(secondLook)
	defer again.Stop()
	var first time.Time // of the events not yet looked at
	for {
		select {
		case <-ctx.Done():
			return nil
		case event := <-watcher.Events:
			if !s.folder.concerns(event.Name) {
				continue
			}
			if first.IsZero() {
				first = time.Now()
			}
			quiet.Reset(min(settle, max(0, settleMost-time.Since(first))))
		case err := <-watcher.Errors: // events were lost
			s.log.Warn("watching the configuration folder", "error", err)
			quiet.Reset(0)
		case <-quiet.C:
			first = time.Time{}
			s.look(watcher)
		case <-again.C:
			if first.IsZero() { // else somebody is writing just now
				s.look(watcher)
			}
		}
	}
}

// look watches what is there, reads it, and signals if that makes a difference. Where a watch is new,
// something may have happened before it was set: then it looks again.
func (s *Source) look(watcher *fsnotify.Watcher) {
	const rounds = 4 // links may be swapped all the time
	for range rounds {
		before := s.Snapshot()
		snapshot := s.folder.read()
		if !snapshot.Equal(before) {
			s.mu.Lock()
			s.snapshot = snapshot
			s.mu.Unlock()
			config.LogProblems(s.log, before.Problems, snapshot.Problems)
			select {
			case s.changed <- struct{}{}:
			default:
			}
		}
		if !s.watch(watcher) {
			return
		}
	}
}

// watch sets watches on the directories that matter and takes away those that do not any more. It
// returns whether a new one was set.
func (s *Source) watch(watcher *fsnotify.Watcher) bool {
	wanted := s.folder.directories()
	for _, dir := range watcher.WatchList() {
		if !wanted[dir] {
			_ = watcher.Remove(dir) // it may be gone with its directory
		}
		delete(wanted, dir)
	}
	added := false
	for dir := range wanted {
		if err := watcher.Add(dir); err != nil {
			s.log.Warn("cannot watch a directory; looking every "+secondLook.String(), "directory", dir, "error", err)
			continue
		}
		added = true
	}
	return added
}
