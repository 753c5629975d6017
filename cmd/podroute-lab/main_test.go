package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/podroute/podroute/internal/lab"
)

// asProgram makes the test binary behave as podroute-lab itself.
const asProgram = "PODROUTE_LAB_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		os.Exit(run())
	}
	if code, ran := lab.Reexec(); ran {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

type result struct {
	Code   int
	Stdout string
	Stderr string
}

// program runs podroute-lab.
func program(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(exe, args...)
	c.Env = append(os.Environ(), asProgram+"=1")
	var out, errs bytes.Buffer
	c.Stdin, c.Stdout, c.Stderr = strings.NewReader(stdin), &out, &errs
	err = c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{c.ProcessState.ExitCode(), out.String(), errs.String()}
}

func labFile(t *testing.T) (file, name string) {
	t.Helper()
	name = fmt.Sprintf("cli-%d", os.Getpid())
	file = filepath.Join(t.TempDir(), "two.clab.yml")
	text := "name: " + name + `
mgmt: {network: x}
topology:
  defaults: {kind: linux}
  nodes:
    one: {cmd: sleep infinity, labels: {role: left}, exec: [ip address add 10.0.0.1/24 dev eth1]}
    two: {labels: {role: right}, exec: [ip address add 10.0.0.2/24 dev eth1]}
  links: [{endpoints: ["one:eth1", "two:eth1"], mtu: 1500}]
`
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file, name
}

// The life of a lab as a person sees it: each line, what it prints, and its exit code.
func TestLife(t *testing.T) {
	file, name := labFile(t)
	t.Cleanup(func() { program(t, "", "destroy", "--name", name) })
	for _, c := range []struct {
		args   string
		stdin  string
		code   int
		stdout string // exactly
		stderr string // among the rest
	}{
		{args: "inspect -t FILE", code: 1, stderr: "podroute-lab deploy -t FILE starts it"},
		{args: "deploy -t FILE", stderr: "✓ lab NAME is up after"},
		{args: "deploy -t FILE", code: 1, stderr: "deploy --reconfigure replaces it"},
		{args: "deploy -t FILE -c", stderr: "note: mgmt: ignored"},
		{args: "exec -t FILE one -- sh -c exit\\ 7", code: 7},
		{args: "exec -t FILE two -- cat", stdin: "through\n", stdout: "through\n"},
		{args: "exec --name NAME three -- true", code: 1, stderr: "has no node \"three\""},
		{args: "exec -t FILE --cmd hostname", stdout: "one\ntwo\n", stderr: "two: hostname"},
		{args: "exec -t FILE --cmd hostname --label role=right", stdout: "two\n"},
		{args: "exec -t FILE --cmd hostname --node one", stdout: "one\n"},
		{args: "exec -t FILE --cmd hostname --node three", code: 1, stderr: "has no node"},
		{args: "exec -t FILE --cmd false --node one", code: 1},
		{
			args:   "exec -t FILE --cmd hostname -f json --node one",
			stdout: "{\n  \"one\": [\n    {\n      \"cmd\": [\n        \"hostname\"\n      ],\n      \"return-code\": 0,\n      \"stdout\": \"one\\n\",\n      \"stderr\": \"\"\n    }\n  ]\n}\n",
		},
		{args: "exec -t FILE", code: 2, stderr: "give either NODE"},
		{args: "kill -t FILE one"},
		{args: "kill -t FILE one", code: 1, stderr: "cmd is not running"},
		{args: "kill -t FILE -s NONSENSE one", code: 2, stderr: "no signal is called \"NONSENSE\""},
		{args: "logs -t FILE one", stdout: "[podroute-lab] cmd ended: signal SIGKILL\n"},
		{args: "start -t FILE one"},
		{args: "restart -t FILE one"},
		{args: "graph -t FILE --dot", stdout: "graph \"NAME\" {\n  node [shape=box]\n  \"one\"\n  \"two\"\n  \"one\" -- \"two\" [taillabel=\"eth1\", headlabel=\"eth1\"]\n}\n"},
		{args: "graph -t FILE --dot --mermaid", code: 2, stderr: "either --mermaid or --dot"},
		{args: "inspect -t FILE -o xml", code: 2, stderr: "table, json or yaml"},
		{args: "destroy -t FILE", stderr: "lab NAME is gone"},
		{args: "destroy -t FILE"},
		{args: "frobnicate", code: 2, stderr: "unknown command"},
		{args: "deploy --frobnicate", code: 2, stderr: "unknown flag"},
		{args: "deploy -t FILE extra", code: 2, stderr: "takes no arguments"},
		{args: "demo --router cisco", code: 2, stderr: "one of podroute, frr, bird"},
	} {
		fill := strings.NewReplacer("FILE", file, "NAME", name)
		argv, err := lab.Split(fill.Replace(c.args))
		if err != nil {
			t.Fatal(err)
		}
		r := program(t, c.stdin, argv...)
		if r.Code != c.code {
			t.Errorf("%s: exit code %d, want %d; it said: %s", c.args, r.Code, c.code, r.Stderr)
		}
		if diff := cmp.Diff(fill.Replace(c.stdout), r.Stdout); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.args, diff)
		}
		if !strings.Contains(r.Stderr, fill.Replace(c.stderr)) {
			t.Errorf("%s: said %q, want %q in it", c.args, r.Stderr, c.stderr)
		}
	}
}

func TestInspect(t *testing.T) {
	file, name := labFile(t)
	t.Cleanup(func() { program(t, "", "destroy", "--name", name) })
	if r := program(t, "", "deploy", "-t", file); r.Code != 0 {
		t.Fatal(r.Stderr)
	}
	var nodes []nodeView
	if err := json.Unmarshal([]byte(program(t, "", "inspect", "-t", file, "-o", "json").Stdout), &nodes); err != nil {
		t.Fatal(err)
	}
	if len(nodes) != 2 || nodes[0].State != "running" || nodes[1].State != "idle" || nodes[0].PID == 0 ||
		!cmp.Equal(nodes[0].Addresses, []string{"10.0.0.1/24"}) {
		t.Errorf("%+v", nodes)
	}
	yes := program(t, "", "inspect", "--all", "-o", "yaml").Stdout
	if !strings.Contains(yes, "lab_name: "+name) {
		t.Errorf("yaml: %s", yes)
	}
	table := program(t, "", "inspect", "--name", name).Stdout
	if lines := strings.Split(table, "\n"); len(lines) != 4 || !strings.HasPrefix(lines[0], "LAB ") || strings.Contains(table, "\x1b") {
		t.Errorf("table: %s", table)
	}
}

func TestCompletion(t *testing.T) {
	file, name := labFile(t)
	t.Cleanup(func() { program(t, "", "destroy", "--name", name) })
	if r := program(t, "", "deploy", "-t", file); r.Code != 0 {
		t.Fatal(r.Stderr)
	}
	for args, want := range map[string]string{
		"__complete exec -t " + file + " t":    "two",
		"__complete kill --name " + name + " ": "one\ntwo",
		"__complete inspect --name cli":        name,
		"__complete demo --router b":           "bird",
	} {
		got, _, _ := strings.Cut(program(t, "", strings.Split(args, " ")...).Stdout, "\n:")
		if got != want && !strings.Contains("\n"+got+"\n", "\n"+want+"\n") {
			t.Errorf("%s: %q, want %q", args, got, want)
		}
	}
}
