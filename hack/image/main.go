// Command image builds podroute's container image without a container engine: static programs, one
// layer, one docker-archive that `ctr image import`, `docker load` and `podman load` read. The same
// sources give the same bytes: no time, user or path of the building machine gets into them.
//
// It runs in its own folder, which is a module, so that what an archive needs and the reference plugins
// need stay out of the product's go.mod.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path"
	"runtime"
	"strings"

	"github.com/podroute/podroute/hack/image/archive"
)

// root is the product's module, seen from this one.
const root = "../.."

// pluginsModule holds the reference plugins: those that our network configuration chains, and the one that
// runtimes bring a pod's loopback up with. go.mod pins it.
const pluginsModule = "github.com/containernetworking/plugins"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "image: %v\n", err)
		os.Exit(1)
	}
}

// build says what to build.
type build struct {
	tag, out, folder, arch, version string
}

func run(ctx context.Context) error {
	var b build
	flag.StringVar(&b.tag, "tag", "localhost/podroute:dev", "the image's name and tag")
	flag.StringVar(&b.out, "o", root+"/build/podroute-image.tar", "the archive to write")
	flag.StringVar(&b.folder, "files", "", "write the image's files into this folder instead, for a Dockerfile")
	flag.StringVar(&b.arch, "arch", runtime.GOARCH, "the machine to build for, as GOARCH names it")
	flag.StringVar(&b.version, "version", "unknown", "what podroute --version says")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	if name := path.Base(b.tag); !strings.Contains(name, ":") {
		return fmt.Errorf("-tag %s has no tag: NAME:TAG", b.tag)
	}
	scratch, err := os.MkdirTemp("", "podroute-image-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	l, err := b.compile(ctx, scratch)
	if err != nil {
		return err
	}
	if b.folder != "" {
		return l.Unpack(b.folder)
	}
	id, err := b.image().Write(b.out, l)
	if err != nil {
		return err
	}
	fmt.Printf("%s: %s for linux/%s, %s\n", b.out, b.tag, b.arch, id)
	return nil
}

// image is what the image says of itself.
func (b build) image() archive.Image {
	return archive.Image{
		Names: []string{b.tag}, Arch: b.arch,
		Config: archive.Config{
			Entrypoint: []string{"/podroute"},
			Env:        []string{"PATH=/"}, // kubectl exec … -- podroute status
			WorkingDir: "/",
			Labels: map[string]string{
				"org.opencontainers.image.title":       "podroute",
				"org.opencontainers.image.description": "Natively routed pod networking over BGP",
				"org.opencontainers.image.licenses":    "Apache-2.0",
				"org.opencontainers.image.version":     b.version,
			},
		},
	}
}
