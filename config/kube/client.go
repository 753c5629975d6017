package kube

import (
	"fmt"
	"log/slog"
	"net/http"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"github.com/podroute/podroute/config"
)

// client speaks to the Kubernetes API. Its resources may be used from any goroutine.
//
// There is no clientset in it: that would link every API group, and cost each node some 15 MB of memory.
type client struct {
	log *slog.Logger
	// node is this node's name, namespace where the agent's own objects (Lease, Events) are.
	node, namespace string
	host            string // the API's

	nodes          resource[corev1.Node, *corev1.Node]
	pods           func(namespace string) resource[corev1.Pod, *corev1.Pod]
	namespaces     resource[corev1.Namespace, *corev1.Namespace]
	services       func(namespace string) resource[corev1.Service, *corev1.Service] // of all namespaces: ""
	endpointSlices resource[discoveryv1.EndpointSlice, *discoveryv1.EndpointSlice]
	secrets        func(namespace string) resource[corev1.Secret, *corev1.Secret]
	events         func(namespace string) resource[corev1.Event, *corev1.Event]
	leases         func(namespace string) resource[coordinationv1.Lease, *coordinationv1.Lease]

	routerConfigs  resource[config.RouterConfig, *config.RouterConfig]
	peers          resource[config.BGPPeer, *config.BGPPeer]
	pools          resource[config.AddressPool, *config.AddressPool]
	blocks         resource[config.AddressBlock, *config.AddressBlock]
	advertisements resource[config.Advertisement, *config.Advertisement]
	routings       resource[config.NodeRouting, *config.NodeRouting]
}

// LogTo makes client-go log to the given logger. It is for the program's start: client-go has one logger
// for the process.
func LogTo(log *slog.Logger) { klog.SetSlogLogger(log.With("library", "client-go")) }

// newClient opens nothing yet: the API may be away.
func newClient(o Options) (*client, error) {
	rc, err := restConfig(o.Kubeconfig)
	if err != nil {
		return nil, err
	}
	hc, err := rest.HTTPClientFor(rc)
	if err != nil {
		return nil, fmt.Errorf("connect to the Kubernetes API: %w", err)
	}
	c := &client{log: o.Log, node: o.NodeName, namespace: o.Namespace, host: rc.Host}
	return c, c.open(rc, hc)
}

// restConfig says where the API is and who we are: a kubeconfig's, else the service account's.
func restConfig(kubeconfig string) (*rest.Config, error) {
	var rc *rest.Config
	var err error
	if kubeconfig != "" {
		if rc, err = clientcmd.BuildConfigFromFlags("", kubeconfig); err != nil {
			return nil, fmt.Errorf("read kubeconfig %s: %w", kubeconfig, err)
		}
	} else if rc, err = rest.InClusterConfig(); err != nil {
		return nil, fmt.Errorf("find the Kubernetes API from inside a pod: %w", err)
	}
	rc.UserAgent = "podroute"
	rc.QPS, rc.Burst = 20, 40
	return rc, nil
}

// open makes one REST client for each API group.
func (c *client) open(rc *rest.Config, hc *http.Client) error {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, coordinationv1.AddToScheme, discoveryv1.AddToScheme, addToScheme} {
		if err := add(scheme); err != nil {
			return fmt.Errorf("know the kinds of the API: %w", err)
		}
	}
	codecs, params := serializer.NewCodecFactory(scheme), runtime.NewParameterCodec(scheme)
	const protobuf = runtime.ContentTypeProtobuf
	group := func(rc *rest.Config, path string, gv schema.GroupVersion, content string) (rest.Interface, error) {
		rc = rest.CopyConfig(rc)
		rc.APIPath, rc.GroupVersion = path, &gv
		rc.NegotiatedSerializer = tolerant{codecs.WithoutConversion()}
		rc.AcceptContentTypes, rc.ContentType = content, content
		if content == protobuf {
			rc.AcceptContentTypes += "," + runtime.ContentTypeJSON
		}
		return rest.RESTClientForConfigAndClient(rc, hc)
	}
	// The leader writes to Services in bursts. These have a rate of their own, so that nothing else waits for them.
	bursts := rest.CopyConfig(rc)
	bursts.QPS, bursts.Burst = 50, 100
	core, err := group(rc, "/api", corev1.SchemeGroupVersion, protobuf)
	if err != nil {
		return fmt.Errorf("open the core API: %w", err)
	}
	services, err := group(bursts, "/api", corev1.SchemeGroupVersion, protobuf)
	if err != nil {
		return fmt.Errorf("open the core API: %w", err)
	}
	coordination, err := group(rc, "/apis", coordinationv1.SchemeGroupVersion, protobuf)
	if err != nil {
		return fmt.Errorf("open the coordination API: %w", err)
	}
	discovery, err := group(rc, "/apis", discoveryv1.SchemeGroupVersion, protobuf)
	if err != nil {
		return fmt.Errorf("open the discovery API: %w", err)
	}
	own, err := group(rc, "/apis", groupVersion(), runtime.ContentTypeJSON)
	if err != nil {
		return fmt.Errorf("open the API of %s: %w", config.APIVersion, err)
	}

	c.nodes = resource[corev1.Node, *corev1.Node]{core, params, "nodes", ""}
	c.namespaces = resource[corev1.Namespace, *corev1.Namespace]{core, params, "namespaces", ""}
	c.endpointSlices = resource[discoveryv1.EndpointSlice, *discoveryv1.EndpointSlice]{discovery, params, "endpointslices", ""}
	c.secrets = namespaced[corev1.Secret](core, params, "secrets")
	c.services = namespaced[corev1.Service](services, params, "services")
	c.pods = namespaced[corev1.Pod](core, params, "pods")
	c.events = namespaced[corev1.Event](core, params, "events")
	c.leases = namespaced[coordinationv1.Lease](coordination, params, "leases")
	c.routerConfigs = resource[config.RouterConfig, *config.RouterConfig]{own, params, "routerconfigs", ""}
	c.peers = resource[config.BGPPeer, *config.BGPPeer]{own, params, "bgppeers", ""}
	c.pools = resource[config.AddressPool, *config.AddressPool]{own, params, "addresspools", ""}
	c.blocks = resource[config.AddressBlock, *config.AddressBlock]{own, params, "addressblocks", ""}
	c.advertisements = resource[config.Advertisement, *config.Advertisement]{own, params, "advertisements", ""}
	c.routings = resource[config.NodeRouting, *config.NodeRouting]{own, params, "noderoutings", ""}
	return nil
}

func groupVersion() schema.GroupVersion {
	return schema.GroupVersion{Group: config.Group, Version: config.Version}
}

// addToScheme makes the kinds of package config known to client-go.
func addToScheme(scheme *runtime.Scheme) error {
	gv := groupVersion()
	scheme.AddKnownTypes(gv,
		&config.RouterConfig{}, &config.BGPPeer{}, &config.AddressPool{},
		&config.AddressBlock{}, &config.Advertisement{}, &config.NodeRouting{})
	metav1.AddToGroupVersion(scheme, gv)
	return nil
}
