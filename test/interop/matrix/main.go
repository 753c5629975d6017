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

	"github.com/podroute/podroute/internal/routers"
)

func main() {
	out := flag.String("o", "build/interop.json", "where the cells go")
	page := flag.String("page", "docs/interop.md", "the page that holds the table")
	pattern := flag.String("run", "", "only the tests whose names match, TestInterop and the rest; the page is left alone")
	check := flag.Bool("check", false, "run nothing: only see whether the page has the rows that the tests declare")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	var err error
	if *check {
		err = agree(ctx, *page)
	} else {
		err = run(ctx, *out, *page, *pattern)
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "interop:", err)
		os.Exit(1)
	}
}

// run runs the tests, and writes down what came of them.
func run(ctx context.Context, out, page, pattern string) error {
	seen := newResults()
	testErr := test(ctx, pattern, seen, "")
	cells := seen.cells(false)
	if err := write(out, cells); err != nil {
		return err
	}
	table := markdown(cells)
	fmt.Fprintf(os.Stdout, "%s\n%s", table, figures(cells))
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

// agree compares the page with what the tests say that they are, if all passed.
func agree(ctx context.Context, page string) error {
	seen := newResults()
	if err := test(ctx, "", seen, "1"); err != nil {
		return err
	}
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	_, old, _, err := split(page, string(text))
	if err != nil {
		return err
	}
	if d := difference(old, "\n"+markdown(seen.cells(true))+"\n"); d != "" {
		return fmt.Errorf("%s and the tests differ; run `make interop`:\n%s", page, d)
	}
	return nil
}

// test runs go test and reads what it tells; listOnly is for routers.ListOnly.
func test(ctx context.Context, pattern string, seen *results, listOnly string) error {
	args := []string{"test", "-json", "-count=1", "-p=2", "-parallel=6", "-timeout=30m", "-run=^TestInterop" + pattern, "./bgp", "./test/interop"}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), routers.ListOnly+"="+listOnly)
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
