package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/yaml"
)

// Object is one object, checked by itself.
type Object struct {
	// Source is where it stands, as in Problem.
	Source string
	Kind   string
	// Namespace is empty for cluster-scoped kinds.
	Namespace, Name string
	// Created is its creationTimestamp, zero for most manifests.
	Created time.Time
	// Value is *RouterConfig, *BGPPeer, *AddressPool, *AddressBlock, *Advertisement, *Node, *Secret,
	// *Namespace, *Service or *EndpointSlice, with defaults; nil where Problems say that it is unusable.
	Value any
	// Problems of the object by itself.
	Problems []Problem

	// since is when Builder accepted it, in builds.
	since int
}

// key identifies an object.
type key struct{ kind, namespace, name string }

func (o Object) key() key { return key{o.Kind, o.Namespace, o.Name} }

// Namespace is what podroute needs of a v1 Namespace.
type Namespace struct {
	Name   string
	Labels map[string]string
}

// Secret is what podroute needs of a v1 Secret.
type Secret struct {
	Namespace, Name string
	Data            map[string]Password
}

// File is what a manifest file holds.
type File struct {
	Name    string
	Objects []Object
	// Problems of the file itself; those of an object are in the object.
	Problems []Problem
	// Broken: some of the text is no YAML. Objects are those of the other documents, but where the
	// file was good before, the text is better not trusted at all.
	Broken bool
	// Lost are the names of objects whose kind cannot be told, "" where the name cannot be told
	// either. An object that the file held before and does not any more may be one of them.
	Lost []string
}

// MaxFile bounds a manifest file, in bytes: 5000 nodes as kubectl prints them.
const MaxFile = 64 << 20

// Parse reads a manifest file: YAML documents, or JSON. It never fails as a whole: what is wrong is in
// the problems of the file and of its objects.
func Parse(name string, text []byte) File {
	f := File{Name: name}
	if len(text) > MaxFile {
		f.Broken = true
		f.Problems = []Problem{{
			Source: name, Message: "is too large", Mend: fmt.Sprintf("split it into files of at most %d MiB", MaxFile>>20),
		}}
		return f
	}
	for i, doc := range splitDocuments(text) {
		f.document(fmt.Sprintf("%s, document %d", name, i+1), doc)
	}
	return f
}

// document reads one YAML document.
func (f *File) document(source string, doc document) {
	text, err := yaml.YAMLToJSONStrict(doc.text)
	if err != nil {
		f.Broken = true
		f.Problems = append(f.Problems, syntaxProblems(source, doc, err)...)
		return
	}
	value, err := decodeJSON(text)
	if err != nil { // YAML numbers that JSON does not have, such as .inf
		f.unnamed(source, "", "holds a value that JSON does not have", "write plain numbers and strings")
		return
	}
	if value == nil {
		return // comments only
	}
	f.object(source, value)
}

// unnamed notes a document, or an item of a list, that does not say which object it is.
func (f *File) unnamed(source, field, message, mend string) {
	f.Lost = append(f.Lost, "")
	f.Problems = append(f.Problems, Problem{Source: source, Field: field, Message: message, Mend: mend})
}

// object reads one object, or the items of a list.
func (f *File) object(source string, value any) {
	m, ok := value.(map[string]any)
	if !ok {
		f.unnamed(source, "", "is not an object", "write a document with apiVersion, kind, metadata and spec")
		return
	}
	apiVersion, _ := m["apiVersion"].(string)
	kind, _ := m["kind"].(string)
	if apiVersion == "" || kind == "" {
		f.unnamed(source, "", "has no apiVersion and kind", "write both, such as apiVersion: "+APIVersion+" and kind: BGPPeer")
		return
	}
	if items, isList := m["items"].([]any); isList && strings.HasSuffix(kind, "List") {
		for i, item := range items {
			if m, ok := item.(map[string]any); ok && kind != "List" && m["kind"] == nil {
				m["apiVersion"], m["kind"] = apiVersion, strings.TrimSuffix(kind, "List")
			}
			f.object(fmt.Sprintf("%s, item %d", source, i+1), item)
		}
		return
	}
	f.single(source, apiVersion, kind, m)
}

// single reads one object that is no list.
func (f *File) single(source, apiVersion, kind string, m map[string]any) {
	o := Object{Source: source, Kind: kind}
	metadata, _ := m["metadata"].(map[string]any)
	o.Name, _ = metadata["name"].(string)
	o.Namespace, _ = metadata["namespace"].(string)
	if namespaced(kind) {
		o.Namespace = orNamespace(o.Namespace)
	}
	r := &report{source: source, object: title(kind, o.Namespace, o.Name)}
	if o.Name == "" {
		r.object = kind
	}

	decoded := newValue(apiVersion, kind)
	if decoded == nil {
		r.unknownKind(apiVersion, kind)
		f.lose(o.Name, kind, r)
		return
	}
	checkShape(r, "", m, reflect.TypeOf(decoded))
	if o.Name == "" {
		if _, isString := metadata["name"].(string); isString || metadata["name"] == nil {
			r.add("metadata.name", "is missing", "name the object")
		}
		f.lose("", kind, r)
		return
	}
	if len(r.problems) > 0 {
		if kind == "RouterConfig" {
			r.fatal()
		}
		o.Problems = r.problems
		f.Objects = append(f.Objects, o)
		return
	}
	text, err := json.Marshal(m)
	if err == nil {
		err = json.Unmarshal(text, decoded)
	}
	if err != nil { // checkShape let something through; the error may hold a value, so it is not shown
		r.add("", "cannot be decoded", "compare it with the reference of its kind")
		o.Problems = r.problems
		f.Objects = append(f.Objects, o)
		return
	}
	f.Objects = append(f.Objects, NewObject(source, decoded))
}

// lose notes an object that cannot be told apart. Without the RouterConfig no agent must start.
func (f *File) lose(name, kind string, r *report) {
	if kind == "RouterConfig" {
		r.fatal()
	}
	f.Lost = append(f.Lost, name)
	f.Problems = append(f.Problems, r.problems...)
}

// Over returns the objects in force after a file that held last has become f: those of f; but all of
// last where f is broken, and those of last besides that may be among the ones f lost. kept tells
// whether something of last stays that f does not have.
func (f File) Over(last []Object) (objects []Object, kept bool) {
	if len(last) == 0 {
		return f.Objects, false
	}
	if f.Broken {
		return last, true
	}
	objects = slices.Clone(f.Objects)
	for _, o := range last {
		if o.Value == nil || !slices.Contains(f.Lost, "") && !slices.Contains(f.Lost, o.Name) {
			continue
		}
		if !slices.ContainsFunc(f.Objects, func(n Object) bool { return n.key() == o.key() }) {
			objects, kept = append(objects, o), true
		}
	}
	return objects, kept
}

// discoveryVersion is the API version of EndpointSlices.
const discoveryVersion = "discovery.k8s.io/v1"

// newValue returns a pointer to the zero value of a kind, nil for kinds that are not read.
func newValue(apiVersion, kind string) any {
	switch apiVersion + "/" + kind {
	case APIVersion + "/RouterConfig":
		return new(RouterConfig)
	case APIVersion + "/BGPPeer":
		return new(BGPPeer)
	case APIVersion + "/AddressPool":
		return new(AddressPool)
	case APIVersion + "/AddressBlock":
		return new(AddressBlock)
	case APIVersion + "/Advertisement":
		return new(Advertisement)
	case "v1/Node":
		return new(corev1.Node)
	case "v1/Namespace":
		return new(corev1.Namespace)
	case "v1/Secret":
		return new(corev1.Secret)
	case "v1/Service":
		return new(corev1.Service)
	case discoveryVersion + "/EndpointSlice":
		return new(discoveryv1.EndpointSlice)
	}
	return nil
}

func (r *report) unknownKind(apiVersion, kind string) {
	for _, known := range []string{APIVersion, "v1", discoveryVersion} {
		if newValue(known, kind) != nil {
			r.addf("apiVersion", "write "+known, "%s %s is not known", apiVersion, kind)
			return
		}
	}
	if kind == "NodeRouting" {
		r.add("kind", "NodeRouting is written by the agent, not read", "remove it")
		return
	}
	r.addf("kind", "remove it; known are "+APIVersion+
		" RouterConfig, BGPPeer, AddressPool, AddressBlock, Advertisement, v1 Node, Secret, Namespace, Service, List, and "+discoveryVersion+" EndpointSlice",
		"%s %s is not known", apiVersion, kind)
}

// document is a part of a file between two separators.
type document struct {
	text []byte
	line int // of its first line, from 0
}

// splitDocuments cuts text at the lines that separate YAML documents (YAML 1.2 section 9.1). Parts
// that hold nothing but white space and comments are no documents.
func splitDocuments(text []byte) []document {
	var docs []document
	var current strings.Builder
	start, line, holds := 0, 0, false
	flush := func(next int) {
		if holds {
			docs = append(docs, document{text: []byte(current.String()), line: start})
		}
		current.Reset()
		start, holds = next, false
	}
	rest := strings.TrimPrefix(string(text), "\ufeff")
	for rest != "" {
		var l string
		l, rest, _ = strings.Cut(rest, "\n")
		switch {
		case isMarker(l, "---"):
			flush(line)
			l = "   " + l[3:] // the document may start on the separator's line
		case isMarker(l, "..."):
			flush(line)
			l = ""
		}
		if t := strings.TrimSpace(l); t != "" && t[0] != '#' && t[0] != '%' {
			holds = true
		}
		current.WriteString(l)
		current.WriteByte('\n')
		line++
	}
	flush(line)
	return docs
}

func isMarker(line, marker string) bool {
	rest, ok := strings.CutPrefix(line, marker)
	return ok && (rest == "" || strings.ContainsAny(rest[:1], " \t\r"))
}

// syntaxProblems words an error of the YAML reader: lines counted from the start of the file, and
// without what it quotes, which may be a secret, but for the names of keys.
func syntaxProblems(source string, doc document, err error) []Problem {
	message := err.Error()
	for _, prefix := range []string{"error converting YAML to JSON: ", "yaml: ", "unmarshal errors:\n  "} {
		message = strings.TrimPrefix(message, prefix)
	}
	at := regexp.MustCompile(`^line (\d+): `)
	quoted := regexp.MustCompile("'[^']*'|`[^`]*`" + `|"[^"]*"`)
	var problems []Problem
	for m := range strings.SplitSeq(message, "\n") {
		m = strings.TrimSpace(m)
		line := doc.line + 1
		if found := at.FindStringSubmatch(m); found != nil {
			n, _ := strconv.Atoi(found[1])
			line, m = doc.line+n, m[len(found[0]):]
		}
		mend := "mend the syntax"
		if strings.HasSuffix(m, "already set in map") {
			m, mend = strings.TrimSuffix(m, " already set in map")+" is there twice", "remove one"
		} else {
			m = "is no YAML: " + quoted.ReplaceAllString(m, "...")
		}
		problems = append(problems, Problem{
			Source: source, Message: fmt.Sprintf("line %d: %s", line, m), Mend: mend,
			Fatal: bytes.Contains(doc.text, []byte("RouterConfig")),
		})
	}
	return problems
}
