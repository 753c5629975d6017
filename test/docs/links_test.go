package docs

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../.."

// page is a Markdown file without its code blocks.
type page struct {
	path    string // from the root
	text    string
	anchors map[string]bool
}

func pages(t *testing.T) map[string]page {
	t.Helper()
	found := map[string]page{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := d.Name(); d.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "build" || name == "testdata") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".md") {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		found[rel] = read(rel, string(b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := found["README.md"]; !ok {
		t.Fatalf("README.md is not among %d pages", len(found))
	}
	return found
}

func read(path, content string) page {
	p := page{path: path, anchors: map[string]bool{}}
	var text strings.Builder
	code := false
	for line := range strings.Lines(content) {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			code = !code
			continue
		}
		if code {
			continue
		}
		text.WriteString(line)
		if heading := strings.TrimLeft(line, "#"); heading != line && strings.HasPrefix(heading, " ") {
			p.anchor(heading)
		}
	}
	p.text = text.String()
	return p
}

// anchor adds the name by which a heading can be linked: lower case, no punctuation, hyphens for
// spaces, a number where it is taken.
func (p page) anchor(heading string) {
	heading = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`).ReplaceAllString(heading, "$1")
	name := regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(strings.TrimSpace(heading)), "")
	name = strings.ReplaceAll(name, " ", "-")
	for n, unique := 0, name; ; {
		if !p.anchors[unique] {
			p.anchors[unique] = true
			return
		}
		n++
		unique = fmt.Sprintf("%s-%d", name, n)
	}
}

func TestLinks(t *testing.T) {
	t.Parallel()
	link := regexp.MustCompile(`\]\(([^)\s]+)(?:\s+"[^"]*")?\)`)
	all := pages(t)
	looked := 0
	for _, p := range all {
		for _, m := range link.FindAllStringSubmatch(p.text, -1) {
			target := m[1]
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			looked++
			file, anchor, _ := strings.Cut(target, "#")
			path := filepath.Join(filepath.Dir(p.path), file)
			if file == "" {
				path = p.path
			}
			if _, err := os.Stat(filepath.Join(root, path)); err != nil {
				t.Errorf("%s: link to %s: there is no %s", p.path, target, path)
				continue
			}
			if to, ok := all[path]; ok && anchor != "" && !to.anchors[anchor] {
				t.Errorf("%s: link to %s: %s has no such heading", p.path, target, path)
			}
		}
	}
	if looked == 0 {
		t.Error("no link found in any page")
	}
}

// TestMakeTargets: what the pages tell people to make is there to be made.
func TestMakeTargets(t *testing.T) {
	t.Parallel()
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	targets := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^([a-z0-9-]+):`).FindAllStringSubmatch(string(makefile), -1) {
		targets[m[1]] = true
	}
	for _, p := range pages(t) {
		for _, m := range regexp.MustCompile("`make ([a-z0-9-]+)").FindAllStringSubmatch(p.text, -1) {
			if !targets[m[1]] {
				t.Errorf("%s: there is no target %q in the Makefile", p.path, m[1])
			}
		}
	}
}

func TestAnchors(t *testing.T) {
	t.Parallel()
	p := read("x.md", "# Kernel routes\n\n## What `Set` does, [in short](y.md)\n## Kernel routes\n```\n# no heading\n```\n#hashtag\n")
	for _, want := range []string{"kernel-routes", "what-set-does-in-short", "kernel-routes-1"} {
		if !p.anchors[want] {
			t.Errorf("no anchor %q in %v", want, p.anchors)
		}
	}
	if len(p.anchors) != 3 {
		t.Errorf("anchors %v, want three", p.anchors)
	}
}
