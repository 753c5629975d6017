package binaries

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// KubernetesVersion is what test/e2e/kubernetes/go.mod requires.
const KubernetesVersion = "v1.34.4"

// set is what one module gives.
type set struct {
	module   string // folder below test/e2e
	ldflags  string
	packages []string // each a program, named by the last element of its path
	tests    []string // test programs NAME=PACKAGE
	files    []string // MODULE=PATH: files of a required module that its programs need
}

func sets() []set {
	const kubernetes, version = "k8s.io/kubernetes", "k8s.io/component-base/version"
	return []set{
		{
			module: "kubernetes",
			ldflags: fmt.Sprintf("-s -w -X %[1]s.gitVersion=%[2]s -X %[1]s.gitMajor=1 -X %[1]s.gitMinor=34", version,
				KubernetesVersion),
			packages: []string{
				kubernetes + "/cmd/kube-apiserver", kubernetes + "/cmd/kube-controller-manager",
				kubernetes + "/cmd/kube-scheduler", kubernetes + "/cmd/kubelet", kubernetes + "/cmd/kube-proxy",
				kubernetes + "/cmd/kubectl", kubernetes + "/test/images/agnhost", "github.com/onsi/ginkgo/v2/ginkgo",
			},
			tests: []string{"e2e.test=" + kubernetes + "/test/e2e"},
			files: []string{
				kubernetes + "=test/images/agnhost/porter/localhost.crt",
				kubernetes + "=test/images/agnhost/porter/localhost.key",
			},
		},
		{module: "coredns", ldflags: "-s -w", packages: []string{"."}},
		{module: "images/pause", ldflags: "-s -w", packages: []string{"."}},
	}
}

// Builder builds what is missing. Root is the repository; Progress is told of what takes long.
type Builder struct {
	Root     string
	Progress func(format string, args ...any)
}

// Dir returns a folder that holds all programs, having built them if need be: 5 to 15 minutes then.
func (b Builder) Dir(ctx context.Context) (string, error) {
	sum, err := b.sum()
	if err != nil {
		return "", fmt.Errorf("what determines the programs: %w", err)
	}
	dir := filepath.Join(b.Root, ".cache", "e2e", sum)
	if _, err := os.Stat(dir); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return dir, err
	}
	b.Progress("building Kubernetes %s and CoreDNS, once: 5 to 15 minutes", KubernetesVersion)
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	// A folder of its own, renamed when it is whole: an interrupted build leaves nothing that looks good.
	scratch, err := os.MkdirTemp(filepath.Dir(dir), "building-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	for _, s := range sets() {
		if err := b.build(ctx, s, scratch); err != nil {
			return "", fmt.Errorf("module test/e2e/%s: %w", s.module, err)
		}
	}
	if err := os.Chmod(scratch, 0o755); err != nil {
		return "", err
	}
	err = os.Rename(scratch, dir)
	if errors.Is(err, fs.ErrExist) { // another builder was faster
		err = nil
	}
	return dir, err
}

func (b Builder) build(ctx context.Context, s set, out string) error {
	flags := []string{"-trimpath", "-ldflags", s.ldflags}
	args := append(append([]string{"build"}, flags...), "-o", out+"/")
	if _, err := b.run(ctx, s.module, append(args, s.packages...)...); err != nil {
		return err
	}
	for _, t := range s.tests {
		name, pkg, _ := strings.Cut(t, "=")
		args := append(append([]string{"test", "-c"}, flags...), "-o", filepath.Join(out, name), pkg)
		if _, err := b.run(ctx, s.module, args...); err != nil {
			return err
		}
	}
	for _, f := range s.files {
		module, path, _ := strings.Cut(f, "=")
		dir, err := b.run(ctx, s.module, "list", "-m", "-f", "{{.Dir}}", module)
		if err != nil {
			return err
		}
		text, err := os.ReadFile(filepath.Join(strings.TrimSpace(dir), path))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(out, filepath.Base(path)), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (b Builder) run(ctx context.Context, module string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = filepath.Join(b.Root, "test", "e2e", module)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("go %s: %w\n%s%s", args[0], err, &stdout, &stderr)
	}
	return stdout.String(), nil
}

// sum is the name of the folder.
func (b Builder) sum() (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, runtime.Version(), runtime.GOARCH)
	for _, s := range sets() {
		fmt.Fprintln(h, s)
		for _, pattern := range []string{"go.mod", "go.sum", "*.go"} {
			names, err := filepath.Glob(filepath.Join(b.Root, "test", "e2e", s.module, pattern))
			if err != nil {
				return "", err
			}
			for _, name := range names {
				text, err := os.ReadFile(name)
				if err != nil {
					return "", err
				}
				fmt.Fprintln(h, filepath.Base(name), len(text))
				_, _ = h.Write(text)
			}
		}
	}
	return hex.EncodeToString(h.Sum(nil))[:16], nil
}
