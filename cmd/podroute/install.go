package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

const (
	// ownPlugin is ours whoever put it there; the other plugins may belong to the host.
	ownPlugin = "podroute-cni"
	// recordFile lists what install has put into the folder, as sha256sum writes it: runtimes run files
	// by name, and none has this one.
	recordFile = ".podroute.sha256"
	// unfinished is what the name of a file begins with that is being written.
	unfinished = ".podroute-tmp-"
)

func newInstall() *cobra.Command {
	var in installation
	c := &cobra.Command{
		Use:   "install",
		Short: "Copy the CNI plugins to this host",
		Long: `Copy the CNI plugins of this image to the host, as the first container of podroute's pods does.

Each is replaced at once and whole: a runtime that is making a pod runs the old one or the new one. What is the same
already is left alone, and so is a portmap, bandwidth or loopback plugin that podroute has not put there.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			in.out = c.OutOrStdout()
			if err := in.run(); err != nil {
				return fmt.Errorf("install the CNI plugins of %s into %s: %w", in.from, in.to, err)
			}
			return nil
		},
	}
	c.Flags().StringVar(&in.from, "from", "/opt/cni/bin", "folder of the plugins to copy")
	c.Flags().StringVar(&in.to, "to", "/host/opt/cni/bin", "where the host's folder of plugins is mounted")
	_ = c.MarkFlagDirname("from") // the flags exist
	_ = c.MarkFlagDirname("to")
	return c
}

// installation copies plugins between two folders.
type installation struct {
	from, to string
	out      io.Writer
}

// run copies what is missing or of an earlier podroute. It may be ended at any moment and run again.
func (in installation) run() error {
	plugins, err := in.plugins()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(in.to, 0o755); err != nil {
		return err
	}
	if err := in.sweep(); err != nil {
		return err
	}
	record, err := in.readRecord()
	if err != nil {
		return err
	}
	var stale []plugin
	ours := map[string][]string{}
	for _, p := range plugins {
		there, err := sum(filepath.Join(in.to, p.name))
		switch {
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return err
		case there == p.sum:
			ours[p.name] = []string{p.sum}
			fmt.Fprintf(in.out, "%s: up to date\n", p.name)
		case there != "" && p.name != ownPlugin && !slices.Contains(record[p.name], there):
			fmt.Fprintf(in.out, "%s: left alone, it was not installed by podroute\n", p.name)
		default:
			ours[p.name] = []string{p.sum, there}
			stale = append(stale, p)
		}
	}
	// The record says first what is there and what will be: ended in between, both are known as ours.
	if err := in.writeRecord(ours); err != nil {
		return err
	}
	for _, p := range stale {
		if err := in.copy(p); err != nil {
			return err
		}
		fmt.Fprintf(in.out, "%s: installed\n", p.name)
		ours[p.name] = []string{p.sum}
	}
	return errors.Join(in.writeRecord(ours), syncFolder(in.to))
}

// plugin is a program to be copied.
type plugin struct{ name, sum string }

// plugins lists what there is to copy.
func (in installation) plugins() ([]plugin, error) {
	entries, err := os.ReadDir(in.from)
	if err != nil {
		return nil, err
	}
	var all []plugin
	for _, e := range entries {
		if !e.Type().IsRegular() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		s, err := sum(filepath.Join(in.from, e.Name()))
		if err != nil {
			return nil, err
		}
		all = append(all, plugin{e.Name(), s})
	}
	if !slices.ContainsFunc(all, func(p plugin) bool { return p.name == ownPlugin }) {
		return nil, fmt.Errorf("%s is not there: run this in podroute's image", ownPlugin)
	}
	return all, nil
}

// sweep removes what installations have left that were ended halfway.
func (in installation) sweep() error {
	left, err := filepath.Glob(filepath.Join(in.to, unfinished+"*"))
	if err != nil {
		return err
	}
	for _, path := range left {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// copy replaces a plugin on the host.
func (in installation) copy(p plugin) error {
	src, err := os.Open(filepath.Join(in.from, p.name))
	if err != nil {
		return err
	}
	defer func() { _ = src.Close() }()
	return in.replace(p.name, 0o755, src)
}

// replace writes a file beside the one that it takes the place of: a rename is all that others see, and
// it works while the old one runs.
func (in installation) replace(name string, mode fs.FileMode, content io.Reader) error {
	tmp, err := os.CreateTemp(in.to, unfinished+name+"-*")
	if err != nil {
		return err
	}
	_, err = io.Copy(tmp, content)
	err = errors.Join(err, tmp.Chmod(mode), tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), filepath.Join(in.to, name))
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return nil
}

// readRecord returns the sums of what earlier installations have put there, by name.
func (in installation) readRecord() (map[string][]string, error) {
	f, err := os.Open(filepath.Join(in.to, recordFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	record := map[string][]string{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if sum, name, ok := strings.Cut(lines.Text(), "  "); ok {
			record[name] = append(record[name], sum)
		}
	}
	return record, lines.Err()
}

// writeRecord writes the record anew if it differs.
func (in installation) writeRecord(record map[string][]string) error {
	var text bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(record)) {
		for _, sum := range record[name] {
			if sum != "" {
				fmt.Fprintf(&text, "%s  %s\n", sum, name)
			}
		}
	}
	if old, err := os.ReadFile(filepath.Join(in.to, recordFile)); err == nil && bytes.Equal(old, text.Bytes()) {
		return nil
	}
	return in.replace(recordFile, 0o644, &text)
}

// sum is the SHA-256 sum of a file's content in hexadecimal digits; with an error, it is empty.
func sum(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// syncFolder makes the renames in a folder last.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
