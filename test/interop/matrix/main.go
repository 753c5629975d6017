package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
)

func main() {
	out := flag.String("o", "build/interop.json", "where the cells go")
	page := flag.String("page", "docs/interop.md", "the page that holds the table")
	pattern := flag.String("run", "", "only the tests whose names match, TestInterop and the rest; the page is left alone")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *out, *page, *pattern)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "interop:", err)
		os.Exit(1)
	}
}

// run runs the tests, and writes down what came of them.
func run(ctx context.Context, out, page, pattern string) error {
	seen := newResults()
	testErr := test(ctx, pattern, seen)
	cells := seen.cells()
	if err := write(out, cells); err != nil {
		return err
	}
	table := markdown(cells)
	fmt.Fprintln(os.Stdout, table)
	for _, c := range cells {
		if c.Result == failed {
			testErr = errors.Join(testErr, fmt.Errorf("%s with %s failed:\n%s", c.Feature, c.Daemon, c.Why))
		}
	}
	if testErr != nil || pattern != "" {
		return testErr
	}
	return update(page, table)
}

// test runs go test and reads what it tells.
func test(ctx context.Context, pattern string, seen *results) error {
	args := []string{"test", "-json", "-count=1", "-p=2", "-parallel=6", "-timeout=30m", "-run=^TestInterop" + pattern, "./bgp", "./test/interop"}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Stderr = os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	readErr := read(stdout, seen)
	if err := cmd.Wait(); err != nil {
		return errors.Join(readErr, fmt.Errorf("go test: %w", err), seen.others())
	}
	return readErr
}

func read(r io.Reader, seen *results) error {
	d := json.NewDecoder(r)
	for {
		var e event
		switch err := d.Decode(&e); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read what go test says: %w", err)
		}
		seen.take(e)
	}
}

// write writes the cells as JSON.
func write(name string, cells []cell) error {
	text, err := json.MarshalIndent(struct {
		Cells []cell `json:"cells"`
	}{cells}, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, append(text, '\n'), 0o644)
}
