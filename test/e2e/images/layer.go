package images

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/podroute/podroute/hack/image/archive"
)

// layer is filled from this machine, for images that run on one like it.
type layer struct{ archive.Layer }

// copy takes a file of the host, executable for all.
func (l *layer) copy(source, name string) { l.Copy(source, name, 0o755) }

func (l *layer) program(bin, program, name string) error {
	source := filepath.Join(bin, program)
	if _, err := os.Stat(source); err != nil {
		return err
	}
	l.copy(source, name)
	return nil
}

// tool takes one of Debian's programs, with its libraries, to /bin.
func (l *layer) tool(ctx context.Context, name string) error {
	found, err := exec.LookPath(name)
	if err != nil {
		return fmt.Errorf("%w: install it on this machine", err)
	}
	file, err := filepath.EvalSymlinks(found)
	if err != nil {
		return err
	}
	l.copy(file, "/bin/"+name)
	needed, err := libraries(ctx, file)
	if err != nil {
		return err
	}
	for _, lib := range needed {
		l.copy(lib, lib)
	}
	return nil
}

// libraries that a dynamically linked program needs, the loader among them.
func libraries(ctx context.Context, program string) ([]string, error) {
	text, err := exec.CommandContext(ctx, "ldd", program).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil, nil // "not a dynamic executable": static, or a script
	}
	if err != nil {
		return nil, fmt.Errorf("ldd %s: %w", program, err)
	}
	var found []string
	for _, word := range strings.Fields(string(text)) {
		if strings.HasPrefix(word, "/") {
			found = append(found, word)
		}
	}
	return found, nil
}
