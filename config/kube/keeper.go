package kube

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podroute/podroute/config"
)

// keeper keeps what is in force in a file of this boot, as manifests that a folder could hold: an agent
// that starts while the API is away goes on with it.
//
// Passwords are among them only where the file is in memory; it is readable for its owner alone.
//
// With thousands of services it takes a moment to write, so it is written once in a while only, where there are any.
type keeper struct {
	dir string // empty: nothing is kept
	log *slog.Logger

	unsaved *config.Snapshot // what is still to be written
	saved   time.Time        // when something was written last
}

// keepEvery is the time between two writes where there are services.
const keepEvery = 5 * time.Second

// keptFile is the file's name in the agent's run folder.
const keptFile = "snapshot.yaml"

func (k *keeper) path() string { return filepath.Join(k.dir, keptFile) }

// load reads what was kept, nil where nothing was.
func (k *keeper) load() []config.Object {
	if k.dir == "" {
		return nil
	}
	text, err := os.ReadFile(k.path())
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			k.log.Warn("what was in force before cannot be read", "error", err)
		}
		return nil
	}
	parsed := config.Parse(keptFile, text)
	config.LogProblems(k.log, nil, parsed.Problems)
	for i := range parsed.Objects {
		parsed.Objects[i].Source = ""
	}
	return parsed.Objects
}

// save takes in what is in force, and writes it if it is time.
func (k *keeper) save(s config.Snapshot) {
	if k.dir != "" {
		k.unsaved = &s
		k.flush(false)
	}
}

// flush writes what is still to be written, at the end whether or not it is time, and returns when to come back.
// Failing is no reason to stop.
func (k *keeper) flush(end bool) time.Duration {
	if k.unsaved == nil {
		return idle
	}
	if wait := keepEvery - time.Since(k.saved); wait > 0 && !end && len(k.unsaved.Services) > 0 {
		return wait
	}
	if err := k.write(*k.unsaved); err != nil {
		k.log.Warn("cannot keep what is in force for a start while the API is away", "error", err)
	}
	k.unsaved, k.saved = nil, time.Now()
	return idle
}

func (k *keeper) write(s config.Snapshot) error {
	if err := os.MkdirAll(k.dir, 0o700); err != nil {
		return fmt.Errorf("make the run folder: %w", err)
	}
	file, err := os.CreateTemp(k.dir, "."+keptFile+".*") // of mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(file.Name()) }() // gone when all went well
	_, err = file.Write(manifests(s, inMemory(file)))
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), k.path())
}

// inMemory tells whether a file never reaches a disk.
func inMemory(file *os.File) bool {
	var fs unix.Statfs_t
	if unix.Fstatfs(int(file.Fd()), &fs) != nil {
		return false
	}
	return fs.Type == unix.TMPFS_MAGIC || fs.Type == unix.RAMFS_MAGIC
}

// manifests writes a Snapshot as manifests, one a line.
func manifests(s config.Snapshot, passwords bool) []byte {
	var text bytes.Buffer
	text.WriteString("# What podroute has in force, for a start while the Kubernetes API is away.\n")
	write := func(v any) {
		if line, err := json.Marshal(v); err == nil { // of these types it cannot fail
			text.WriteString("---\n")
			text.Write(line)
			text.WriteByte('\n')
		}
	}
	own := func(kind string) metav1.TypeMeta { return metav1.TypeMeta{APIVersion: config.APIVersion, Kind: kind} }
	s.Router.TypeMeta = own("RouterConfig")
	write(s.Router)
	for _, v := range s.Peers {
		v.TypeMeta = own("BGPPeer")
		write(v)
	}
	for _, v := range s.Pools {
		v.TypeMeta = own("AddressPool")
		write(v)
	}
	for _, v := range s.Blocks {
		v.TypeMeta = own("AddressBlock")
		write(v)
	}
	for _, v := range s.Advertisements {
		v.TypeMeta = own("Advertisement")
		write(v)
	}
	for _, v := range s.Nodes {
		write(nodeManifest(v))
	}
	for _, name := range slices.Sorted(maps.Keys(s.Namespaces)) {
		write(corev1.Namespace{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"},
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: s.Namespaces[name]},
		})
	}
	for _, v := range s.Services {
		write(serviceManifest(v))
		for _, e := range endpointManifests(v) {
			write(e)
		}
	}
	if passwords {
		for _, v := range secretManifests(s.Secrets) {
			write(v)
		}
	}
	return text.Bytes()
}

func nodeManifest(n config.Node) corev1.Node {
	v := corev1.Node{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Node"},
		ObjectMeta: metav1.ObjectMeta{Name: n.Name, Labels: n.Labels, Annotations: n.Annotations},
		Spec:       corev1.NodeSpec{Unschedulable: n.Unschedulable},
	}
	for _, p := range n.PodCIDRs {
		v.Spec.PodCIDRs = append(v.Spec.PodCIDRs, p.String())
	}
	for _, a := range n.Addresses {
		v.Status.Addresses = append(v.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: a.String()})
	}
	return v
}

// secretManifests puts the keys of a Secret together again.
func secretManifests(passwords map[config.SecretKeyRef]config.Password) map[string]*corev1.Secret {
	secrets := map[string]*corev1.Secret{}
	for ref, password := range passwords {
		id := ref.Namespace + "/" + ref.Name
		if secrets[id] == nil {
			secrets[id] = &corev1.Secret{
				TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
				ObjectMeta: metav1.ObjectMeta{Namespace: ref.Namespace, Name: ref.Name}, Data: map[string][]byte{},
			}
		}
		secrets[id].Data[ref.Key] = []byte(password)
	}
	return secrets
}
