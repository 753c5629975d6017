// Command testreport runs `go test -json` with its own arguments in this module and in every module
// nested in it, and prints what a person wants to know: each package with its time, the whole output
// of what failed, the slowest tests, and as the last line alone the counts of tests and subtests:
//
//	412 passed, 0 failed, 0 skipped
//
// It exits with 1 when anything failed, did not build, or ran no test at all, and also when a test
// was skipped and the environment says CI=true: there, a test that cannot run is a test that is
// missing.
package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ok, err := run(ctx, os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "testreport:", err)
	}
	if !ok || err != nil {
		stop()
		os.Exit(1)
	}
}

// run tests every module under the working directory and reports whether all is well.
func run(ctx context.Context, args []string) (bool, error) {
	dirs, err := modules(".")
	if err != nil {
		return false, err
	}
	sum := newSummary(os.Stdout)
	var errs []error
	for _, dir := range dirs {
		if dir != "." {
			if !slices.Contains(args, "./...") {
				continue // packages of the root module were asked for by name
			}
			fmt.Fprintf(os.Stdout, "module %s\n", dir)
		}
		if err := test(ctx, dir, args, sum); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", dir, err))
		}
	}
	inCI := os.Getenv("CI") == "true"
	return sum.finish(inCI), errors.Join(errs...)
}

// cluster is the folder of the tests that need a Kubernetes cluster or its API server: make e2e runs those.
var cluster = filepath.Join("test", "e2e") //nolint:gochecknoglobals // a constant, but for the separator

// modules lists the directories below root that hold a go.mod, root first, the cluster's excepted.
func modules(root string) ([]string, error) {
	var dirs []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch name := d.Name(); {
		case path == filepath.Join(root, cluster):
			return filepath.SkipDir
		case d.IsDir() && path != root && (strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") || name == "testdata" || name == "build"):
			return filepath.SkipDir
		case name == "go.mod":
			dirs = append(dirs, filepath.Dir(path))
		}
		return nil
	})
	return dirs, err
}

// test runs one module's tests. A failed test is no error here: the summary knows it.
func test(ctx context.Context, dir string, args []string, sum *summary) error {
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-json"}, args...)...)
	cmd.Dir = dir
	cmd.Stderr = os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	readErr := sum.read(out)
	err = cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 1 && sum.failed > 0 {
		err = nil
	}
	return errors.Join(readErr, err)
}
