package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
)

// requestTimeout bounds every request but watches.
const requestTimeout = 20 * time.Second

// object is a pointer to a kind of the API.
type object[T any] interface {
	*T
	metav1.Object
	runtime.Object
}

// resource reads and writes objects of one kind. Errors are those of k8s.io/apimachinery/pkg/api/errors,
// with what was attempted in front.
type resource[T any, P object[T]] struct {
	rest      rest.Interface
	params    runtime.ParameterCodec
	name      string // plural, as in URLs
	namespace string // empty for cluster-scoped kinds
}

// namespaced is a resource of namespaced kinds, for every namespace.
func namespaced[T any, P object[T]](c rest.Interface, params runtime.ParameterCodec, name string) func(string) resource[T, P] {
	return func(namespace string) resource[T, P] { return resource[T, P]{c, params, name, namespace} }
}

func (r resource[T, P]) wrap(verb, name string, err error) error {
	if err == nil {
		return nil
	}
	what := r.name
	if name != "" {
		what += "/" + name
	}
	if r.namespace != "" {
		what = r.namespace + "/" + what
	}
	return fmt.Errorf("%s %s: %w", verb, what, err)
}

func (r resource[T, P]) request(verb *rest.Request, name string) *rest.Request {
	verb.NamespaceIfScoped(r.namespace, r.namespace != "").Resource(r.name)
	if name != "" {
		verb.Name(name)
	}
	return verb
}

func (r resource[T, P]) get(ctx context.Context, name string) (P, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	into := P(new(T))
	err := r.request(r.rest.Get(), name).Do(ctx).Into(into)
	return into, r.wrap("get", name, err)
}

// cached is get from what the API server has in memory: cheap, and perhaps a moment old.
func (r resource[T, P]) cached(ctx context.Context, name string) (P, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	into := P(new(T))
	err := r.request(r.rest.Get(), name).VersionedParams(&metav1.GetOptions{ResourceVersion: "0"}, r.params).Do(ctx).Into(into)
	return into, r.wrap("get", name, err)
}

func (r resource[T, P]) create(ctx context.Context, v P) (P, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	into := P(new(T))
	err := r.request(r.rest.Post(), "").Body(v).Do(ctx).Into(into)
	return into, r.wrap("create", v.GetName(), err)
}

func (r resource[T, P]) update(ctx context.Context, v P) (P, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	into := P(new(T))
	err := r.request(r.rest.Put(), v.GetName()).Body(v).Do(ctx).Into(into)
	return into, r.wrap("update", v.GetName(), err)
}

// patch changes an object, or with a subresource ("status") that part of it.
func (r resource[T, P]) patch(ctx context.Context, name string, form types.PatchType, patch []byte, sub ...string) (P, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	into := P(new(T))
	err := r.request(r.rest.Patch(form), name).SubResource(sub...).Body(patch).Do(ctx).Into(into)
	return into, r.wrap("patch", name, err)
}

func (r resource[T, P]) delete(ctx context.Context, name string, o metav1.DeleteOptions) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	err := r.request(r.rest.Delete(), name).Body(&o).Do(ctx).Error()
	return r.wrap("delete", name, err)
}

func (r resource[T, P]) watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	o.Watch = true
	w, err := r.request(r.rest.Get(), "").VersionedParams(&o, r.params).Watch(ctx)
	return w, r.wrap("watch", "", err)
}

// page reads a part of a collection, as JSON.
func (r resource[T, P]) page(ctx context.Context, o metav1.ListOptions) (page, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	text, err := r.request(r.rest.Get(), "").VersionedParams(&o, r.params).
		SetHeader("Accept", runtime.ContentTypeJSON).Do(ctx).Raw()
	var into struct {
		Meta  metav1.ListMeta   `json:"metadata"`
		Items []json.RawMessage `json:"items"`
	}
	if err == nil {
		err = json.Unmarshal(text, &into)
	}
	return page{decoded[T, P](into.Items), into.Meta}, r.wrap("list", "", err)
}

// decoded decodes objects one by one: whole, those of a page take many times of what is kept of them.
func decoded[T any, P object[T]](texts []json.RawMessage) iter.Seq[runtime.Object] {
	return func(yield func(runtime.Object) bool) {
		for _, text := range texts {
			var item runtime.Object = P(new(T))
			if json.Unmarshal(text, item) != nil {
				u := asUnreadable(text)
				if u == nil {
					continue
				}
				item = u
			}
			if !yield(item) {
				return
			}
		}
	}
}
