package lab

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"

	"gopkg.in/yaml.v3"
)

// decoder walks a YAML document and collects errors, each with its place: a topology file is a
// user's text, so all its mistakes are told at once and none is passed over.
type decoder struct {
	file string
	errs []error
}

func (d *decoder) err() error { return errors.Join(d.errs...) }

// value is a place in the document.
type value struct {
	d    *decoder
	path string // as the user would say it: topology.nodes.n1.binds[0]
	node *yaml.Node

	merging int // levels of merge keys that led here
}

func (d *decoder) document(text []byte) (value, bool) {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		d.errs = append(d.errs, fmt.Errorf("%s: %w", d.file, err))
		return value{}, false
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) == 0 {
		d.errs = append(d.errs, fmt.Errorf("%s: the file is empty; it needs name and topology", d.file))
		return value{}, false
	}
	return value{d: d, node: doc.Content[0]}, true
}

func (v value) errorf(format string, args ...any) {
	place := fmt.Sprintf("%s:%d: ", v.d.file, v.node.Line)
	if v.path != "" {
		place += v.path + ": "
	}
	v.d.errs = append(v.d.errs, fmt.Errorf(place+format, args...))
}

func (v value) at(path string, node *yaml.Node) value {
	for node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	return value{d: v.d, path: path, node: node}
}

func (v value) null() bool { return v.node.Kind == yaml.ScalarNode && v.node.Tag == "!!null" }

// entry is a key of a mapping and what it holds.
type entry struct {
	key   string
	at    *yaml.Node // the key itself
	value value
}

// entries of a mapping in the order of the file, with merge keys (<<) resolved.
func (v value) entries() []entry {
	if v.null() {
		return nil
	}
	if v.node.Kind != yaml.MappingNode {
		v.errorf("must be a mapping")
		return nil
	}
	var own, merged []entry
	seen := map[string]bool{}
	for i := 0; i+1 < len(v.node.Content); i += 2 {
		k, n := v.node.Content[i], v.node.Content[i+1]
		path := k.Value
		if v.path != "" {
			path = v.path + "." + k.Value
		}
		e := entry{key: k.Value, at: k, value: v.at(path, n)}
		switch {
		case k.Tag == "!!merge":
			if v.merging > 9 {
				v.at(path, k).errorf("merges into itself, or too deep")
				continue
			}
			m := v.at(v.path, n)
			m.merging = v.merging + 1
			merged = append(merged, m.entries()...)
		case seen[e.key]:
			v.at(path, k).errorf("is given twice")
		default:
			seen[e.key] = true
			own = append(own, e)
		}
	}
	for _, e := range merged {
		if !seen[e.key] {
			seen[e.key] = true
			own = append(own, e)
		}
	}
	return own
}

// fields reads a mapping of known keys; any other is an error that lists what there is.
func (v value) fields(known map[string]func(value)) {
	for _, e := range v.entries() {
		if read, ok := known[e.key]; ok {
			read(e.value)
			continue
		}
		names := make([]string, 0, len(known))
		for k := range known {
			names = append(names, k)
		}
		sort.Strings(names)
		v.at(e.value.path, e.at).errorf("unknown key; supported here: %s", strings.Join(names, ", "))
	}
}

// scalar is the text of a string, number or boolean.
func (v value) scalar() string {
	if v.node.Kind != yaml.ScalarNode {
		v.errorf("must be a single value")
		return ""
	}
	if v.null() {
		return ""
	}
	return v.node.Value
}

func (v value) oneOf(allowed ...string) string {
	s := v.scalar()
	for _, a := range allowed {
		if strings.EqualFold(s, a) {
			return a
		}
	}
	v.errorf("is %q; supported: %s", s, strings.Join(allowed, ", "))
	return ""
}

// list reads each element of a sequence.
func (v value) list(read func(value)) {
	if v.null() {
		return
	}
	if v.node.Kind != yaml.SequenceNode {
		v.errorf("must be a list")
		return
	}
	for i, n := range v.node.Content {
		read(v.at(fmt.Sprintf("%s[%d]", v.path, i), n))
	}
}

func (v value) strings() []string {
	var out []string
	v.list(func(e value) { out = append(out, e.scalar()) })
	return out
}

func (v value) stringMap() map[string]string {
	out := map[string]string{}
	for _, e := range v.entries() {
		out[e.key] = e.value.scalar()
	}
	return out
}

// command reads a command line into its words; see Split.
func (v value) command() []string {
	words, err := Split(v.scalar())
	if err != nil {
		v.errorf("%w", err)
	}
	return words
}

// ignored accepts a key that has no meaning here, and says so through note.
func ignored(note func(string), text string) func(value) {
	return func(v value) { note(fmt.Sprintf("%s: %s", v.path, text)) }
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
