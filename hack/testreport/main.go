// Command testreport runs `go test -json` with its own arguments in this module and in every module
// nested in it, and prints what a person wants to know: each package with its time, the whole output
// of what failed, the slowest tests, and as the last line alone the counts of tests and subtests:
//
//	412 passed, 0 failed, 0 skipped
//
// A test that fails among the others is tried once more alone, unless many fail, and the report names it.
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
		before := len(sum.failures)
		if err := test(ctx, dir, args, sum); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", dir, err))
		}
		for _, k := range alone(sum.failures[before:]) {
			fmt.Fprintf(os.Stdout, "once more, alone: %s\n", k)
			second := newSummary(os.Stdout)
			if err := test(ctx, dir, argsFor(args, k), second); err == nil && second.finish(true) {
				sum.forgive(k)
			}
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

// fewFailures is how many tests may fail and be tried once more: hosts are shared, and one test in hundreds that waits for a
// processor in vain says nothing of the code. More failures than that do.
const fewFailures = 3

// alone are the top-level tests to be tried once more: none where there are many, or where a package itself failed.
func alone(failures []key) []key {
	var out []key
	for _, k := range failures {
		if k.test == "" {
			return nil
		}
		k.test, _, _ = strings.Cut(k.test, "/")
		if !slices.Contains(out, k) {
			out = append(out, k)
		}
	}
	if len(out) > fewFailures {
		return nil
	}
	return out
}

// argsFor are the arguments that run one test only.
func argsFor(args []string, k key) []string {
	flags := slices.DeleteFunc(slices.Clone(args), func(a string) bool { return strings.HasPrefix(a, "./") })
	return append(flags, "-count=1", "-run", "^"+k.test+"$", k.pkg)
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
