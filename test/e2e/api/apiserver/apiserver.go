package apiserver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
)

// Server is an API server that runs until the test ends, or is stopped and started by it.
type Server struct {
	t        *testing.T
	bin, dir string
	root     string // of the repository
	port     int
	etcdPort int
	api      *exec.Cmd
	client   *http.Client // see Send
	once     sync.Once
	// Admin is a kubeconfig that may do everything, Audit the file of all requests, one JSON object a line.
	Admin, Audit string
}

const (
	startWithin = 60 * time.Second
	token       = "of-the-tests"
)

// Start starts etcd and kube-apiserver and applies deploy/crds and the permissions of deploy/base.
func Start(t *testing.T) *Server {
	t.Helper()
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	found, err := filepath.Glob(filepath.Join(root, ".cache/e2e/*/kube-apiserver"))
	if err != nil || len(found) == 0 {
		t.Fatalf("kube-apiserver is not built yet: make e2e builds it (%v)", err)
	}
	s := &Server{t: t, bin: filepath.Dir(found[0]), dir: t.TempDir(), root: root, port: freePort(t), etcdPort: freePort(t)}
	s.Audit = filepath.Join(s.dir, "audit.log")
	s.write("tokens.csv", token+",admin,1,system:masters\n")
	s.write("audit.yaml", "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [{level: Metadata}]\n")
	s.Admin = s.write("admin.kubeconfig", s.kubeconfig(nil))
	key := filepath.Join(s.dir, "sa.key")
	s.must(exec.CommandContext(t.Context(), "openssl", "genrsa", "-out", key, "2048"))

	etcd := fmt.Sprintf("http://127.0.0.1:%d", s.etcdPort)
	peer := fmt.Sprintf("http://127.0.0.1:%d", freePort(t))
	s.run("etcd", "--data-dir", filepath.Join(s.dir, "etcd"), "--unsafe-no-fsync", "--log-level", "error", "--listen-client-urls", etcd,
		"--advertise-client-urls", etcd, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default="+peer)
	s.Up()
	s.Kubectl("apply", "--server-side", "-f", filepath.Join(root, "deploy/crds"))
	s.Kubectl("wait", "--for=condition=Established", "--timeout=60s", "-f", filepath.Join(root, "deploy/crds"))
	for _, file := range []string{"rbac.yaml", "own-node.yaml"} {
		s.Kubectl("apply", "-f", filepath.Join(root, "deploy/base", file))
	}
	return s
}

// Up starts the API server and waits until it is ready.
func (s *Server) Up() {
	s.t.Helper()
	s.api = s.run(filepath.Join(s.bin, "kube-apiserver"),
		fmt.Sprintf("--etcd-servers=http://127.0.0.1:%d", s.etcdPort), "-v=0", "--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", s.port),
		"--cert-dir="+filepath.Join(s.dir, "cert"), "--service-cluster-ip-range=10.96.0.0/16,fd00:96::/112", "--token-auth-file="+filepath.Join(s.dir, "tokens.csv"),
		"--authorization-mode=RBAC", "--service-account-issuer=https://kubernetes.default.svc", "--endpoint-reconciler-type=none",
		"--service-account-key-file="+filepath.Join(s.dir, "sa.key"), "--service-account-signing-key-file="+filepath.Join(s.dir, "sa.key"),
		"--audit-policy-file="+filepath.Join(s.dir, "audit.yaml"), "--audit-log-path="+s.Audit)
	s.Eventually("the API server is ready", startWithin, func() bool {
		_, err := s.kubectl("get", "--raw", "/readyz")
		return err == nil
	})
}

// Down stops the API server; etcd keeps what it knew.
func (s *Server) Down() {
	s.t.Helper()
	stop(s.api)
}

// Kubectl runs kubectl as admin and returns what it printed. It ends the test if it fails.
func (s *Server) Kubectl(args ...string) string {
	s.t.Helper()
	out, err := s.kubectl(args...)
	if err != nil {
		s.t.Fatalf("kubectl %s: %v", strings.Join(args, " "), err)
	}
	return out
}

// Apply applies manifests.
func (s *Server) Apply(manifests string) {
	s.t.Helper()
	file := filepath.Join(s.t.TempDir(), "manifests.yaml")
	if err := os.WriteFile(file, []byte(manifests), 0o600); err != nil {
		s.t.Fatal(err)
	}
	s.Kubectl("apply", "--server-side", "-f", file)
}

func (s *Server) kubectl(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.t.Context()), startWithin)
	defer cancel()
	var out, problem bytes.Buffer
	c := exec.CommandContext(ctx, filepath.Join(s.bin, "kubectl"), append([]string{"--kubeconfig", s.Admin}, args...)...)
	c.Stdout, c.Stderr = &out, &problem
	if err := c.Run(); err != nil {
		return "", fmt.Errorf("%w: %s", err, problem.String())
	}
	return out.String(), nil
}

// Agent writes a kubeconfig with which the API takes its holder for the agent of a node.
func (s *Server) Agent(node string) string {
	s.t.Helper()
	return s.write(node+".kubeconfig", s.kubeconfig(map[string]any{
		"as": "system:serviceaccount:kube-system:podroute", "as-groups": []string{"system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"},
		"as-user-extra": map[string][]string{"authentication.kubernetes.io/node-name": {node}},
	}))
}

func (s *Server) kubeconfig(user map[string]any) string {
	if user == nil {
		user = map[string]any{}
	}
	user["token"] = token
	text, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Config", "current-context": "c",
		"contexts": []any{map[string]any{"name": "c", "context": map[string]any{"cluster": "c", "user": "u"}}},
		"clusters": []any{map[string]any{"name": "c", "cluster": map[string]any{
			"server": fmt.Sprintf("https://127.0.0.1:%d", s.port), "insecure-skip-tls-verify": true,
		}}},
		"users": []any{map[string]any{"name": "u", "user": user}},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text)
}

// Request is one that the API server has answered.
type Request struct {
	Verb      string `json:"verb"`
	URI       string `json:"requestURI"`
	UserAgent string `json:"userAgent"`
	ObjectRef struct {
		Resource, Name, Subresource string
	} `json:"objectRef"`
	ImpersonatedUser *struct {
		Extra map[string][]string `json:"extra"`
	} `json:"impersonatedUser"`
	ResponseStatus struct {
		Code int `json:"code"`
	} `json:"responseStatus"`
}

// String reads "patch nodes/status n1".
func (r Request) String() string {
	what := r.ObjectRef.Resource
	if r.ObjectRef.Subresource != "" {
		what += "/" + r.ObjectRef.Subresource
	}
	return strings.TrimSpace(fmt.Sprintf("%s %s %s", r.Verb, what, r.ObjectRef.Name))
}

// Requests are those of a node's agent since the API server first started, in the order of their ends.
func (s *Server) Requests(node string) []Request {
	s.t.Helper()
	text, err := os.ReadFile(s.Audit)
	if err != nil {
		s.t.Fatal(err)
	}
	var out []Request
	for line := range bytes.Lines(text) {
		var r Request
		if json.Unmarshal(line, &r) != nil || r.ImpersonatedUser == nil {
			continue // a line that is being written
		}
		if names := r.ImpersonatedUser.Extra["authentication.kubernetes.io/node-name"]; len(names) == 1 && names[0] == node {
			out = append(out, r)
		}
	}
	return out
}

// Writes are those of Requests that change something.
func (s *Server) Writes(node string) []Request {
	var out []Request
	for _, r := range s.Requests(node) {
		switch r.Verb {
		case "get", "list", "watch":
		default:
			out = append(out, r)
		}
	}
	return out
}

// Eventually polls until ok, and ends the test if that takes too long.
func (s *Server) Eventually(what string, within time.Duration, ok func() bool) {
	s.t.Helper()
	nstest.Within(s.t, within, func() error {
		if !ok() {
			return errors.New(what)
		}
		return nil
	})
}

// run starts a program that ends with the test; what it prints is shown if the test fails.
func (s *Server) run(program string, args ...string) *exec.Cmd {
	s.t.Helper()
	c := exec.Command(program, args...) //nolint:noctx // it is ended in order, below
	// Nothing is left behind, even where the test is killed.
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log := &tail{}
	c.Stdout, c.Stderr = log, log
	if err := c.Start(); err != nil {
		s.t.Fatalf("start %s: %v", program, err)
	}
	s.t.Cleanup(func() {
		stop(c)
		if s.t.Failed() {
			s.t.Logf("the end of what %s said:\n%s", filepath.Base(program), log)
		}
	})
	return c
}

func stop(c *exec.Cmd) {
	if c.ProcessState != nil {
		return
	}
	_ = c.Process.Signal(syscall.SIGTERM)
	kill := time.AfterFunc(10*time.Second, func() { _ = c.Process.Kill() })
	defer kill.Stop()
	_ = c.Wait()
}

func (s *Server) must(c *exec.Cmd) {
	s.t.Helper()
	if out, err := c.CombinedOutput(); err != nil {
		s.t.Fatalf("%s: %v\n%s", c, err, out)
	}
}

func (s *Server) write(name, text string) string {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

func freePort(t *testing.T) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a local listen does not wait
	if err != nil {
		t.Fatal(err)
	}
	addr, ok := ln.Addr().(*net.TCPAddr)
	if err := ln.Close(); err != nil || !ok {
		t.Fatal(errors.Join(err, errors.New("no TCP address")))
	}
	return addr.Port
}

// tail keeps the end of what a program says.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const tailMost = 8 << 10

func (l *tail) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	if len(l.text) > tailMost {
		l.text = l.text[len(l.text)-tailMost:]
	}
	return len(p), nil
}

func (l *tail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}
