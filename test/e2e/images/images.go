package images

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/podroute/podroute/hack/image/archive"
)

// image is one archive.
type image struct {
	file       string
	names      []string
	entrypoint []string
	command    []string
	fill       func(context.Context, *layer) error
}

func (i image) archive() archive.Image {
	return archive.Image{Names: i.names, Arch: runtime.GOARCH, Config: archive.Config{
		Entrypoint: i.entrypoint, Cmd: i.command,
		Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/"},
	}}
}

// Maker makes images. Bin holds the programs, Out is where the archives go.
type Maker struct{ Bin, Out string }

// Make makes all images anew.
func (m Maker) Make(ctx context.Context) error {
	for _, i := range m.all() {
		var l layer
		err := i.fill(ctx, &l)
		if err == nil {
			_, err = i.archive().Write(filepath.Join(m.Out, i.file), &l.Layer)
		}
		if err != nil {
			return fmt.Errorf("image %s: %w", i.names[0], err)
		}
	}
	return nil
}

func (m Maker) all() []image {
	const tests = "registry.k8s.io/e2e-test-images/"
	return []image{
		{
			file: "pause.tar", names: []string{"registry.k8s.io/pause:3.10.1"}, entrypoint: []string{"/pause"},
			fill: func(_ context.Context, l *layer) error { return l.program(m.Bin, "pause", "/pause") },
		},
		{
			file: "coredns.tar", names: []string{"registry.k8s.io/coredns/coredns:v1.12.4"}, entrypoint: []string{"/coredns"},
			fill: func(_ context.Context, l *layer) error { return l.program(m.Bin, "coredns", "/coredns") },
		},
		{
			file: "agnhost.tar", entrypoint: []string{"/agnhost"}, command: []string{"pause"},
			names: []string{tests + "agnhost:2.56", tests + "jessie-dnsutils:1.7"},
			fill:  m.agnhost,
		},
		{
			file: "busybox.tar", names: []string{tests + "busybox:1.37.0-1"}, command: []string{"sh"},
			fill: busybox,
		},
	}
}

// tools that upstream's tests, and ours, run inside agnhost.
func tools() []string {
	return []string{
		"bash", "sh", "curl", "nc", "dig", "nslookup", "iperf", "ss", "ip", "ping", "tcpdump", "getent", "cat", "ls", "grep",
		"sed", "awk", "seq", "timeout", "sleep", "date", "hostname", "head", "tail", "tr", "wc", "cut", "sort", "uniq", "id",
		"touch", "mkdir", "rm", "mv", "cp", "chmod", "chown", "ln", "stat", "dd", "sha1sum", "md5sum", "env", "printf",
		"test", "expr", "true", "false", "echo", "ps", "mount", "df", "base64", "xargs", "find", "tee", "dirname", "basename",
	}
}

// agnhost is upstream's test workload, and a small system around it.
func (m Maker) agnhost(ctx context.Context, l *layer) error {
	if err := l.program(m.Bin, "agnhost", "/agnhost"); err != nil {
		return err
	}
	l.Link("/agnhost-2", "agnhost")
	for _, name := range []string{"localhost.crt", "localhost.key"} { // what it serves TLS with
		if err := l.program(m.Bin, name, "/"+name); err != nil {
			return err
		}
	}
	for _, name := range tools() {
		if err := l.tool(ctx, name); err != nil {
			return err
		}
	}
	// Names are looked up by libraries that no program says it needs.
	for _, pattern := range []string{"/lib/*/libnss_dns.so.2", "/lib/*/libnss_files.so.2"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return err
		}
		for _, f := range found {
			l.copy(f, f)
		}
	}
	l.Dir("/tmp", 0o1777)
	l.Dir("/uploads", 0o777)
	l.Dir("/var/tmp", 0o1777)
	l.Dir("/root", 0o700)
	l.Text("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"+
		"user-defined-in-image:x:1000:1000::/:/bin/sh\n")
	l.Text("/etc/group", "root:x:0:\nnogroup:x:65534:\ngroup-defined-in-image:x:50000:user-defined-in-image\n")
	l.Text("/etc/nsswitch.conf", "hosts: files dns\n")
	return nil
}

func busybox(ctx context.Context, l *layer) error {
	const program = "/usr/bin/busybox" // of the package busybox-static
	path := program
	if _, err := os.Stat(path); err != nil {
		path = "/bin/busybox"
	}
	applets, err := exec.CommandContext(ctx, path, "--list").Output()
	if err != nil {
		return fmt.Errorf("%s --list: %w", path, err)
	}
	l.copy(path, "/bin/busybox")
	for _, name := range strings.Fields(string(applets)) {
		if name != "busybox" {
			l.Link("/bin/"+name, "busybox")
		}
	}
	l.Dir("/tmp", 0o1777)
	l.Text("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
	return nil
}
