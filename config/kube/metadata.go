package kube

import (
	"context"
	"encoding/json"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// onlyMetadata asks the API server to leave specs and statuses out.
const onlyMetadata = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

// metadata lists the metadata of the objects that a label selector selects. It is the API server's cache that
// answers: what was written a moment ago may be missing.
func (r resource[T, P]) metadata(ctx context.Context, selector string) ([]metav1.PartialObjectMetadata, error) {
	var all []metav1.PartialObjectMetadata
	o := metav1.ListOptions{LabelSelector: selector, ResourceVersion: "0", Limit: pageSize}
	for {
		part, err := r.metadataPage(ctx, o)
		if err != nil {
			return nil, r.wrap("list the metadata of", "", err)
		}
		all = append(all, part.Items...)
		if part.Continue == "" {
			return all, nil
		}
		o.Continue, o.ResourceVersion = part.Continue, ""
	}
}

func (r resource[T, P]) metadataPage(ctx context.Context, o metav1.ListOptions) (metav1.PartialObjectMetadataList, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var into metav1.PartialObjectMetadataList
	text, err := r.request(r.rest.Get(), "").VersionedParams(&o, r.params).SetHeader("Accept", onlyMetadata).Do(ctx).Raw()
	if err == nil {
		err = json.Unmarshal(text, &into)
	}
	return into, err
}
