package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// Kinds of nodes.
const (
	KindLinux  = "linux"  // namespaces with a command in them
	KindBridge = "bridge" // an Ethernet bridge that carries the node's name
)

// DefaultMTU of links, in bytes: containerlab's.
const DefaultMTU = 9500

// Topology is a lab as its file says it, with defaults, kinds and groups merged into the nodes.
type Topology struct {
	Name  string `json:"name"`
	File  string `json:"file"` // absolute
	Nodes []Node `json:"nodes"`
	Links []Link `json:"links"`
	// Notes tell of keys that the file may hold and that have no effect here.
	Notes []string `json:"notes,omitempty"`
}

// Node is one node of a topology.
type Node struct {
	Name        string            `json:"name"`
	Kind        string            `json:"kind"`
	Group       string            `json:"group,omitempty"`
	Image       string            `json:"image,omitempty"` // recorded only: the host is the image
	PullPolicy  string            `json:"imagePullPolicy,omitempty"`
	NetworkMode string            `json:"networkMode,omitempty"` // "", none, container:NODE
	Cmd         []string          `json:"cmd,omitempty"`
	Exec        [][]string        `json:"exec,omitempty"`
	Env         map[string]string `json:"env,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Sysctls     map[string]string `json:"sysctls,omitempty"`
	Binds       []Bind            `json:"binds,omitempty"`
	CapAdd      []string          `json:"capAdd,omitempty"` // recorded only: a node's root has the host's capabilities
}

// Bind makes a file or folder of the host visible in a node.
type Bind struct {
	Source   string `json:"source"` // absolute
	Target   string `json:"target"` // absolute
	ReadOnly bool   `json:"readOnly,omitempty"`

	place int // in topologyFile.bindPlaces
}

// Link is a pair of Ethernet interfaces. MTU is in bytes.
type Link struct {
	A   Endpoint `json:"a"`
	B   Endpoint `json:"b"`
	MTU int      `json:"mtu"`
}

// Endpoint is an interface of a node.
type Endpoint struct {
	Node      string `json:"node"`
	Interface string `json:"interface"`
}

func (e Endpoint) String() string { return e.Node + ":" + e.Interface }

// Node finds a node by its name.
func (t *Topology) Node(name string) (Node, bool) {
	for _, n := range t.Nodes {
		if n.Name == name {
			return n, true
		}
	}
	return Node{}, false
}

// SharesNetworkOf is the node whose network namespace this one lives in, or empty.
func (n Node) SharesNetworkOf() string {
	other, _ := strings.CutPrefix(n.NetworkMode, "container:")
	if other == n.NetworkMode {
		return ""
	}
	return other
}

// Load reads a containerlab topology file. Its error, if any, joins one for each mistake, with file,
// line and path of the key.
func Load(file string) (*Topology, error) { return LoadWith(file, os.LookupEnv) }

// LoadWith is Load with the file's variables taken from elsewhere than the environment.
func LoadWith(file string, lookup func(string) (string, bool)) (*Topology, error) {
	abs, err := filepath.Abs(file)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(abs)
	if err != nil {
		return nil, fmt.Errorf("topology: %w", err)
	}
	d := &decoder{file: file}
	root, ok := d.document([]byte(substitute(d, string(text), lookup)))
	if !ok || d.err() != nil {
		return nil, d.err()
	}
	t := &Topology{File: abs}
	f := topologyFile{kinds: map[string]Node{}, groups: map[string]Node{}, top: t}
	f.read(root)
	if d.err() == nil {
		f.check(root)
	}
	if err := d.err(); err != nil {
		return nil, err
	}
	return t, nil
}

// topologyFile is a topology while it is read: layers are merged once all are known, because a file
// may name them in any order.
type topologyFile struct {
	top           *Topology
	defaults      Node
	kinds, groups map[string]Node
	nodes         []Node
	// Where things are said, for errors of check.
	places     map[string]value // of nodes, by name
	linkPlaces []value
	bindPlaces []value
}

func (f *topologyFile) note(text string) { f.top.Notes = append(f.top.Notes, text) }

func (f *topologyFile) read(root value) {
	f.places = map[string]value{}
	f.top.Name = strings.TrimSuffix(strings.TrimSuffix(filepath.Base(f.top.File), ".yml"), ".clab")
	haveTopology := false
	root.fields(map[string]func(value){
		"name":   func(v value) { f.top.Name = v.scalar(); checkName(v, f.top.Name) },
		"prefix": ignored(f.note, "ignored: nodes have no host-wide names here"),
		"mgmt":   ignored(f.note, "ignored: podroute-lab makes no management network"),
		"topology": func(v value) {
			haveTopology = true
			v.fields(map[string]func(value){
				"defaults": func(v value) { f.defaults = f.definition(v) },
				"kinds":    func(v value) { f.layer(v, f.kinds, KindLinux, KindBridge) },
				"groups":   func(v value) { f.layer(v, f.groups) },
				"nodes":    f.readNodes,
				"links":    func(v value) { v.list(f.readLink) },
			})
		},
	})
	if !haveTopology {
		root.errorf("has no topology")
	}
}

func (f *topologyFile) layer(v value, into map[string]Node, allowed ...string) {
	for _, e := range v.entries() {
		ok := len(allowed) == 0
		for _, a := range allowed {
			ok = ok || a == e.key
		}
		if !ok {
			e.value.errorf("unknown kind; supported: %s", strings.Join(allowed, ", "))
			continue
		}
		into[e.key] = f.definition(e.value)
	}
}

func (f *topologyFile) readNodes(v value) {
	for _, e := range v.entries() {
		at := value{d: v.d, path: e.value.path, node: e.at}
		checkName(at, e.key)
		n := f.definition(e.value)
		n.Name = e.key
		f.nodes = append(f.nodes, n)
		f.places[e.key] = at
	}
}

// definition reads what defaults, kinds, groups and nodes have in common.
func (f *topologyFile) definition(v value) Node {
	var n Node
	v.fields(map[string]func(value){
		"kind":              func(v value) { n.Kind = v.oneOf(KindLinux, KindBridge) },
		"group":             func(v value) { n.Group = v.scalar() },
		"image":             func(v value) { n.Image = v.scalar() },
		"image-pull-policy": func(v value) { n.PullPolicy = v.oneOf("Always", "IfNotPresent", "Never") },
		"network-mode":      func(v value) { n.NetworkMode = readNetworkMode(v) },
		"cmd":               func(v value) { n.Cmd = v.command() },
		"exec":              func(v value) { v.list(func(v value) { n.Exec = append(n.Exec, v.command()) }) },
		"env":               func(v value) { n.Env = v.stringMap() },
		"labels":            func(v value) { n.Labels = v.stringMap() },
		"sysctls":           func(v value) { n.Sysctls = readSysctls(v) },
		"binds":             func(v value) { v.list(func(v value) { n.Binds = append(n.Binds, f.readBind(v)) }) },
		"cap-add":           func(v value) { n.CapAdd = v.strings() },
		"privileged":        func(v value) { v.oneOf("true", "false") },
	})
	return n
}

func readNetworkMode(v value) string {
	s := v.scalar()
	if s != "none" && !(strings.HasPrefix(s, "container:") && len(s) > len("container:")) {
		v.errorf("is %q; supported: none, container:NODE", s)
	}
	return s
}

// Only what a namespace has of its own may be set: anything else would change the host.
func readSysctls(v value) map[string]string {
	m := map[string]string{}
	for _, e := range v.entries() {
		key := strings.ReplaceAll(e.key, "/", ".")
		ok := false
		for _, p := range []string{"net.", "kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue."} {
			ok = ok || strings.HasPrefix(key, p)
		}
		if !ok {
			e.value.errorf("is not a node's own: it would change the host; supported: net.*, kernel.shm*, kernel.msg*, kernel.sem, fs.mqueue.*")
		}
		m[key] = e.value.scalar()
	}
	return m
}

// nodeNameMark in a bind stands for the node's name, so that defaults, kinds and groups can bind a
// file for each node.
const nodeNameMark = "__clabNodeName__"

func (f *topologyFile) readBind(v value) Bind {
	parts := strings.Split(v.scalar(), ":")
	if len(parts) < 2 || len(parts) > 3 || parts[0] == "" || !filepath.IsAbs(parts[1]) {
		v.errorf("must be SOURCE:TARGET or SOURCE:TARGET:ro, with an absolute TARGET")
		return Bind{}
	}
	b := Bind{Source: parts[0], Target: filepath.Clean(parts[1])}
	if b.Target == "/" {
		v.errorf("cannot cover the node's root")
	}
	if len(parts) == 3 {
		if parts[2] != "ro" && parts[2] != "rw" {
			v.errorf("has option %q; supported: ro, rw", parts[2])
		}
		b.ReadOnly = parts[2] == "ro"
	}
	if !filepath.IsAbs(b.Source) {
		b.Source = filepath.Join(filepath.Dir(f.top.File), b.Source)
	}
	f.bindPlaces = append(f.bindPlaces, v)
	b.place = len(f.bindPlaces) - 1
	return b
}

func (f *topologyFile) readLink(v value) {
	l := Link{MTU: DefaultMTU}
	var ends []Endpoint
	v.fields(map[string]func(value){
		"endpoints": func(v value) {
			v.list(func(v value) {
				if v.node.Value == "" {
					v.errorf("must be \"NODE:INTERFACE\"; endpoints with keys of their own are not supported")
					return
				}
				node, ifname, ok := strings.Cut(v.scalar(), ":")
				if !ok || node == "" || !interfaceName.MatchString(ifname) {
					v.errorf("is %q; must be NODE:INTERFACE, the latter of 1 to 15 letters, digits, and . _ -", v.node.Value)
					return
				}
				ends = append(ends, Endpoint{node, ifname})
			})
			if len(v.node.Content) != 2 {
				v.errorf("must have two elements, not %d", len(v.node.Content))
			}
		},
		"mtu": func(v value) {
			mtu, err := strconv.Atoi(v.scalar())
			if err != nil || mtu < 68 || mtu > 65535 {
				v.errorf("is %q; must be a number from 68 to 65535", v.node.Value)
			}
			l.MTU = mtu
		},
		"type": func(v value) { v.oneOf("veth") },
	})
	if len(ends) == 2 {
		l.A, l.B = ends[0], ends[1]
		f.top.Links = append(f.top.Links, l)
		f.linkPlaces = append(f.linkPlaces, v)
	}
}

var (
	interfaceName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,15}$`)
	objectName    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$`) // also a host name and a file's name
)

func checkName(v value, name string) {
	if !objectName.MatchString(name) {
		v.errorf("%q is no good as a name: 1 to 63 letters, digits, _ and -, beginning with a letter or digit", name)
	}
}
