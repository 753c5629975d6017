package kube

import (
	"encoding/json"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/podroute/podroute/config"
)

// read checks an object of the API by itself, and keeps of it what is needed.
func read(kind string, value runtime.Object) entry {
	if u, bad := value.(*unreadable); bad {
		return entry{uid: u.UID, generation: u.Generation, object: u.object(kind)}
	}
	e := entry{conditions: conditionsOf(value)}
	if o, ok := value.(metav1.Object); ok {
		e.uid, e.generation = o.GetUID(), o.GetGeneration()
		if p, ok := value.(*config.AddressPool); ok {
			e.counts = p.Status.PoolCounts
		}
		trim(o)
	}
	if t, ok := value.(interface{ GetObjectKind() schema.ObjectKind }); ok {
		t.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{}) // lists leave it out, watches do not
	}
	if n, ok := value.(*corev1.Namespace); ok { // nothing else of it counts
		value = &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: n.Name, Labels: n.Labels}}
	}
	e.object = config.NewObject("", value)
	return e
}

// trim removes what changes without meaning anything to us, and what takes memory.
func trim(o metav1.Object) {
	o.SetManagedFields(nil)
	o.SetResourceVersion("")
	o.SetGeneration(0)
	var kept map[string]string
	for key, value := range o.GetAnnotations() {
		if strings.HasPrefix(key, config.Group+"/") {
			if kept == nil {
				kept = map[string]string{}
			}
			kept[key] = value
		}
	}
	o.SetAnnotations(kept)
}

// conditionsOf are the conditions that an object of ours has.
func conditionsOf(value runtime.Object) []metav1.Condition {
	switch v := value.(type) {
	case *config.RouterConfig:
		return v.Status.Conditions
	case *config.BGPPeer:
		return v.Status.Conditions
	case *config.AddressPool:
		return v.Status.Conditions
	case *config.Advertisement:
		return v.Status.Conditions
	}
	return nil
}

// unreadable is an object that does not fit its Go type: the CRD of another version let it in. It stops
// no other object of its kind.
type unreadable struct {
	metav1.PartialObjectMetadata
	text []byte
}

// object says which fields are wrong, as the folder of manifests does.
func (u *unreadable) object(kind string) config.Object {
	o := config.Object{Kind: kind, Name: u.Name, Created: u.CreationTimestamp.Time}
	if parsed := config.Parse("", u.text); len(parsed.Objects) == 1 {
		o.Problems = parsed.Objects[0].Problems
	}
	if len(o.Problems) == 0 {
		o.Problems = []config.Problem{{
			Object: kind + "/" + u.Name, Message: "cannot be read", Mend: "compare it with the reference of its kind",
		}}
	}
	for i := range o.Problems {
		o.Problems[i].Source = ""
	}
	return o
}

// tolerant decodes what it can into the types of its scheme, and anything else into unreadable.
type tolerant struct{ runtime.NegotiatedSerializer }

func (t tolerant) DecoderToVersion(d runtime.Decoder, v runtime.GroupVersioner) runtime.Decoder {
	return tolerantDecoder{t.NegotiatedSerializer.DecoderToVersion(d, v)}
}

type tolerantDecoder struct{ runtime.Decoder }

func (t tolerantDecoder) Decode(text []byte, defaults *schema.GroupVersionKind, into runtime.Object) (runtime.Object, *schema.GroupVersionKind, error) {
	o, kind, err := t.Decoder.Decode(text, defaults, into)
	if err == nil || into != nil {
		return o, kind, err
	}
	if u := asUnreadable(text); u != nil {
		return u, kind, nil
	}
	return o, kind, err
}

// asUnreadable reads the metadata alone, nil where not even those can be read.
func asUnreadable(text []byte) *unreadable {
	u := &unreadable{text: text}
	if json.Unmarshal(text, &u.PartialObjectMetadata) != nil || u.Name == "" {
		return nil
	}
	u.text = slices.Clone(text) // the caller may use its buffer again
	return u
}
