package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/containerd/ttrpc"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/podroute/podroute/cni/client"
	"github.com/podroute/podroute/cni/cnipb"
)

// agent answers with what its test says.
type agent struct {
	answer *cnipb.Response
	calls  chan asked // of capacity 1
}

type asked struct {
	verb    string
	request *cnipb.Request
}

func (a *agent) note(verb string, r *cnipb.Request) (*cnipb.Response, error) {
	a.calls <- asked{verb, r}
	return a.answer, nil
}

func (a *agent) Add(_ context.Context, r *cnipb.Request) (*cnipb.Response, error) {
	return a.note("ADD", r)
}

func (a *agent) Del(_ context.Context, r *cnipb.Request) (*cnipb.Response, error) {
	return a.note("DEL", r)
}

func (a *agent) Check(_ context.Context, r *cnipb.Request) (*cnipb.Response, error) {
	return a.note("CHECK", r)
}

func (a *agent) Status(_ context.Context, r *cnipb.Request) (*cnipb.Response, error) {
	return a.note("STATUS", r)
}

func (a *agent) GC(_ context.Context, r *cnipb.Request) (*cnipb.Response, error) {
	return a.note("GC", r)
}

func serve(t *testing.T, a *agent) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "cni.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ttrpc.NewServer()
	if err != nil {
		t.Fatal(err)
	}
	cnipb.RegisterCNIService(s, a)
	done := make(chan error, 1)
	go func() { done <- s.Serve(context.Background(), l) }()
	t.Cleanup(func() {
		_ = s.Close()
		if err := <-done; !errors.Is(err, ttrpc.ErrServerClosed) {
			t.Error(err)
		}
	})
	return socket
}

func env(kv map[string]string) func(string) string { return func(k string) string { return kv[k] } }

func TestEveryCommandIsHandedOn(t *testing.T) {
	t.Parallel()
	for _, command := range []string{"ADD", "DEL", "CHECK", "STATUS", "GC"} {
		a := &agent{answer: &cnipb.Response{Result: []byte(`{"some":"result"}`)}, calls: make(chan asked, 1)}
		stdin := `{"cniVersion":"1.1.0","socket":"` + serve(t, a) + `"}`
		var out bytes.Buffer
		code := client.Plugin{
			Getenv: env(map[string]string{
				"CNI_COMMAND": command, "CNI_CONTAINERID": "id", "CNI_NETNS": "/ns", "CNI_IFNAME": "eth0", "CNI_ARGS": "A=B",
			}),
			Stdin: strings.NewReader(stdin), Stdout: &out,
		}.Run()
		want := &cnipb.Request{ContainerId: "id", Netns: "/ns", IfName: "eth0", Args: "A=B", Config: []byte(stdin)}
		if code != 0 || out.String() != `{"some":"result"}` {
			t.Fatalf("%s: exit code %d, printed %q", command, code, out.String())
		}
		got := <-a.calls
		if got.verb != command {
			t.Errorf("%s: the agent was asked for %s", command, got.verb)
		}
		if d := cmp.Diff(want, got.request, protocmp.Transform()); d != "" {
			t.Errorf("%s: request (-want +got):\n%s", command, d)
		}
	}
}

func TestErrorsArePrintedAsTheSpecificationSays(t *testing.T) {
	t.Parallel()
	refusing := serve(t, &agent{
		answer: &cnipb.Response{Error: &cnipb.Error{Code: 11, Msg: "later", Details: "more"}}, calls: make(chan asked, 1),
	})
	nobody := filepath.Join(t.TempDir(), "none.sock")
	for _, tt := range []struct {
		name, command, stdin string
		version              string
		code                 int
		msg                  string
	}{
		{"the agent refuses", "ADD", `{"cniVersion":"0.4.0","socket":"` + refusing + `"}`, "0.4.0", 11, "later"},
		{"no agent", "ADD", `{"cniVersion":"1.1.0","socket":"` + nobody + `"}`, "1.1.0", 11, "does not answer"},
		{"no agent", "STATUS", `{"cniVersion":"1.1.0","socket":"` + nobody + `"}`, "1.1.0", 50, "does not answer"},
		{"no agent", "GC", `{"cniVersion":"1.1.0","socket":"` + nobody + `"}`, "1.1.0", 11, "does not answer"},
		{"no agent and nothing named", "DEL", `{"cniVersion":"1.1.0","socket":"` + nobody + `"}`, "1.1.0", 4, "CNI_CONTAINERID"},
		{"not JSON", "ADD", `}`, "1.0.0", 6, "not valid JSON"},
		{"unknown command", "MOVE", `{"cniVersion":"1.0.0","socket":"` + refusing + `"}`, "1.0.0", 4, "MOVE"},
	} {
		var out bytes.Buffer
		exit := client.Plugin{Getenv: env(map[string]string{"CNI_COMMAND": tt.command}), Stdin: strings.NewReader(tt.stdin), Stdout: &out}.Run()
		var got struct {
			CNIVersion string
			Code       int
			Msg        string
		}
		if err := json.Unmarshal(out.Bytes(), &got); err != nil {
			t.Errorf("%s, %s: %v: %q", tt.name, tt.command, err, out.String())
		}
		if exit != 1 || got.CNIVersion != tt.version || got.Code != tt.code || !strings.Contains(got.Msg, tt.msg) {
			t.Errorf("%s, %s: exit code %d, %s; want version %s, code %d, %q", tt.name, tt.command, exit, out.String(), tt.version, tt.code, tt.msg)
		}
	}
	var out bytes.Buffer
	broken := client.Plugin{Getenv: env(map[string]string{"CNI_COMMAND": "ADD"}), Stdin: iotest.ErrReader(errors.New("torn")), Stdout: &out}
	if exit := broken.Run(); exit != 1 || !strings.Contains(out.String(), "torn") {
		t.Errorf("standard input that cannot be read: exit code %d, %s", exit, out.String())
	}
}

// The plugin's start is most of an ADD: it links little, and nothing of the agent.
func TestPluginLinksLittle(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-deps", "github.com/podroute/podroute/cmd/podroute-cni").Output()
	if err != nil {
		t.Fatal(err)
	}
	deps := strings.Fields(string(out))
	for _, d := range deps {
		for _, banned := range []string{
			"github.com/osrg/", "k8s.io/", "sigs.k8s.io/", "github.com/vishvananda/", "github.com/mdlayher/", "github.com/google/nftables",
			"github.com/spf13/", "github.com/containerd/", "google.golang.org/", "net/http", "crypto/tls",
		} {
			if strings.HasPrefix(d, banned) {
				t.Errorf("the plugin links %s", d)
			}
		}
		if own, ok := strings.CutPrefix(d, "github.com/podroute/podroute/"); ok && !slices.Contains([]string{
			"cmd/podroute-cni", "cni/client", "cni/hostlink", "cni/internal/rtnl",
		}, own) {
			t.Errorf("the plugin links %s", own)
		}
	}
}
