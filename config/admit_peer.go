package config

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// secret keeps a Secret for the peers to find.
func (w *build) secret(c *candidate) {
	if w.secrets == nil {
		w.secrets = map[key]*Secret{}
	}
	w.secrets[c.key()] = c.Value.(*Secret)
	w.accepted[c.key()] = c.Object
}

// peer admits a BGPPeer whose passwords are known.
func (w *build) peer(c *candidate) {
	var passwords []Password
	o, ok := w.admit(c, func(r *report, o Object) bool {
		known := true
		passwords = nil
		for _, s := range o.Value.(*BGPPeer).Spec.secrets() {
			password, ok := w.password(r, s)
			passwords, known = append(passwords, password), known && ok
		}
		return known
	})
	if !ok {
		w.snapshot.Keyless = append(w.snapshot.Keyless, *c.Value.(*BGPPeer))
		return
	}
	v := *o.Value.(*BGPPeer)
	for i, s := range v.Spec.secrets() {
		w.remember(s.source, passwords[i])
	}
	w.snapshot.Peers = append(w.snapshot.Peers, v)
	w.peers = append(w.peers, admitted[BGPPeer]{c, v})
}

// maxPassword is what the kernel takes for TCP MD5 (TCP_MD5SIG_MAXKEYLEN), in bytes.
const maxPassword = 80

// password finds a password. One that was there and is not any more stays in force.
func (w *build) password(r *report, s secret) (Password, bool) {
	if w.trusted(s.source) {
		return "", true
	}
	var found Password
	var field, message, mend string
	if s.source.SecretRef != nil {
		field = s.field + ".secretRef"
		found, message, mend = w.secretPassword(*s.source.SecretRef)
	} else {
		field = s.field + ".file"
		found, message, mend = w.filePassword(s.source.File)
	}
	length := fmt.Sprintf("write one of 1 to %d bytes", s.most)
	switch {
	case message != "":
	case found == "":
		message, mend = "the "+s.name+" is empty", length
	case len(found) > s.most:
		message, mend = "the "+s.name+" is too long", length
	case strings.ContainsAny(string(found), "\n\x00"):
		message, mend = "the "+s.name+" has several lines", "write one line"
	default:
		return found, true
	}
	r.add(field, message, mend)
	last, ok := w.last.secret(s.source)
	if ok {
		r.problems[len(r.problems)-1].Kept = true
	}
	return last, ok
}

// trusted tells of a password that this node has no use for.
func (w *build) trusted(source *PasswordSource) bool {
	return source.SecretRef != nil && w.elsewhere != nil && w.elsewhere(*source.SecretRef)
}

func (w *build) secretPassword(ref SecretKeyRef) (found Password, message, mend string) {
	secret, ok := w.secrets[key{kind: "Secret", namespace: ref.Namespace, name: ref.Name}]
	if !ok {
		mend = "write it"
		for _, k := range slices.SortedFunc(maps.Keys(w.secrets), func(a, b key) int { return cmp.Compare(a.namespace, b.namespace) }) {
			if k.name == ref.Name {
				mend = "set namespace: " + k.namespace + ", where one of that name is, or write it"
				break
			}
		}
		return "", fmt.Sprintf("Secret %s/%s is not there", ref.Namespace, ref.Name), mend
	}
	if found, ok = secret.Data[ref.Key]; !ok {
		return "", fmt.Sprintf("Secret %s/%s has no key %q", ref.Namespace, ref.Name, ref.Key), "add it, or set key"
	}
	return found, "", ""
}

func (w *build) filePassword(name string) (found Password, message, mend string) {
	if w.readFile == nil {
		return "", "password files are not read here", "use secretRef"
	}
	text, err := w.readFile(name)
	if err != nil {
		return "", fmt.Sprintf("cannot be read: %v", err), "write the file, readable for the agent"
	}
	s := strings.TrimSuffix(string(text), "\n")
	return Password(strings.TrimSuffix(s, "\r")), "", ""
}

// remember puts a password where Snapshot.Password finds it.
func (w *build) remember(source *PasswordSource, password Password) {
	switch {
	case w.trusted(source):
		return
	case source.SecretRef != nil:
		if w.snapshot.Secrets == nil {
			w.snapshot.Secrets = map[SecretKeyRef]Password{}
		}
		w.snapshot.Secrets[*source.SecretRef] = password
	default:
		if w.snapshot.PasswordFiles == nil {
			w.snapshot.PasswordFiles = map[string]Password{}
		}
		w.snapshot.PasswordFiles[source.File] = password
	}
}

// advertisement admits an Advertisement. Peers that are not there are reported: they may come.
func (w *build) advertisement(c *candidate) {
	o, ok := w.admit(c, func(r *report, o Object) bool {
		for i, name := range o.Value.(*Advertisement).Spec.Peers {
			if !slices.ContainsFunc(w.snapshot.Peers, func(p BGPPeer) bool { return p.Name == name }) {
				r.addf(indexed("spec.peers", i), "name a peer, or write it", "BGPPeer/%s is not there", name)
			}
		}
		return true
	})
	if ok {
		w.snapshot.Advertisements = append(w.snapshot.Advertisements, *o.Value.(*Advertisement))
	}
}
