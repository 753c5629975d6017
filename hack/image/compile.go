package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/podroute/podroute/hack/image/archive"
)

// program is one Go command of the image.
type program struct {
	path    string // in the image
	folder  string // of the module that requires it
	pkg     string
	ldflags string
}

// programs are what the image holds. What podroute install copies to the host is a folder of its own.
func (b build) programs(ctx context.Context) ([]program, error) {
	release, err := goRun(ctx, ".", nil, "list", "-m", "-f", "{{.Version}}", pluginsModule)
	if err != nil {
		return nil, fmt.Errorf("find the version of the reference plugins: %w", err)
	}
	ours := "-X main.version=" + b.version
	theirs := "-X " + pluginsModule + "/pkg/utils/buildversion.BuildVersion=" + release
	return []program{
		{"/podroute", root, "./cmd/podroute", ours},
		{"/opt/cni/bin/podroute-cni", root, "./cmd/podroute-cni", ours},
		{"/opt/cni/bin/portmap", ".", pluginsModule + "/plugins/meta/portmap", theirs},
		{"/opt/cni/bin/bandwidth", ".", pluginsModule + "/plugins/meta/bandwidth", theirs},
		{"/opt/cni/bin/loopback", ".", pluginsModule + "/plugins/main/loopback", theirs},
	}, nil
}

// compile builds every program below dir, which the image's files then come from.
func (b build) compile(ctx context.Context, dir string) (*archive.Layer, error) {
	programs, err := b.programs(ctx)
	if err != nil {
		return nil, err
	}
	var l archive.Layer
	for i, p := range programs {
		at := filepath.Join(dir, fmt.Sprint(i))
		if err := p.compile(ctx, b.arch, at); err != nil {
			return nil, fmt.Errorf("build %s for linux/%s: %w", p.pkg, b.arch, err)
		}
		l.Copy(at, p.path, 0o755)
	}
	l.Copy(filepath.Join(root, "LICENSE"), "/LICENSE", 0o644)
	// Runtimes name a pod's network namespace by either path; the DaemonSet mounts /run/netns.
	l.Dir("/run", 0o755)
	l.Link("/var/run", "../run")
	return &l, nil
}

// compile builds a static program whose bytes depend on its sources and the toolchain alone: neither a
// folder's name nor a commit gets into it but by ldflags.
func (p program) compile(ctx context.Context, arch, at string) error {
	_, err := goRun(ctx, p.folder, []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=" + arch},
		"build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid= "+p.ldflags, "-o", at, p.pkg)
	return err
}

// goRun runs the go command in a folder and returns what it prints.
func goRun(ctx context.Context, folder string, env []string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", args[0], err, bytes.TrimSpace(stderr.Bytes()))
	}
	return string(bytes.TrimSpace(out)), nil
}
