package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"

	"github.com/podroute/podroute/cni/hostlink"
	"github.com/podroute/podroute/cni/internal/rtnl"
)

// DefaultSocket is where the agent listens, unless the network configuration says "socket".
const DefaultSocket = "/run/podroute/cni.sock"

// Time limits of one execution. Runtimes have their own, of minutes.
const (
	dialTimeout = 5 * time.Second
	callTimeout = 60 * time.Second
	delTimeout  = 20 * time.Second // then DEL deletes the link itself
)

// maxConfig is the longest network configuration in bytes; ttrpc's messages end at 4 MiB.
const maxConfig = 3 << 20

// Codes of errors, from the CNI specification's section 5.
const (
	codeEnvironment   = 4
	codeIO            = 5
	codeDecoding      = 6
	codeConfig        = 7
	codeTryAgainLater = 11
	codeNotAvailable  = 50
)

// version answers VERSION; it agrees with what the agent serves.
const version = `{"cniVersion":"1.1.0","supportedVersions":["0.3.1","0.4.0","1.0.0","1.1.0"]}` + "\n"

// Plugin is one execution of the plugin.
type Plugin struct {
	Getenv func(string) string
	Stdin  io.Reader
	Stdout io.Writer
}

// failure is a CNI error as it is printed.
type failure struct {
	CNIVersion string `json:"cniVersion"`
	Code       uint32 `json:"code"`
	Msg        string `json:"msg"`
	Details    string `json:"details,omitempty"`
}

func (f *failure) Error() string { return f.Msg }

func failf(code uint32, format string, args ...any) *failure {
	return &failure{Code: code, Msg: fmt.Sprintf(format, args...)}
}

// Run does what CNI_COMMAND asks, and prints the result or a CNI error. It returns the exit code.
func (p Plugin) Run() int {
	command := p.Getenv("CNI_COMMAND")
	if command == "VERSION" {
		return p.print([]byte(version))
	}
	config, err := io.ReadAll(io.LimitReader(p.Stdin, maxConfig+1))
	switch {
	case err != nil:
		return p.fail(config, failf(codeIO, "read standard input: %v", err))
	case len(config) > maxConfig:
		return p.fail(nil, failf(codeConfig, "the network configuration on standard input is too long: at most %d bytes", maxConfig))
	}
	result, f := p.ask(command, config)
	if f != nil {
		return p.fail(config, f)
	}
	return p.print(result)
}

func (p Plugin) print(b []byte) int {
	if _, err := p.Stdout.Write(b); err != nil {
		return 1 // nobody is left to be told
	}
	return 0
}

// fail prints a CNI error, in the version that the configuration asked for where that can be read.
func (p Plugin) fail(config []byte, f *failure) int {
	var conf struct {
		CNIVersion string `json:"cniVersion"`
	}
	_ = json.Unmarshal(config, &conf) // that it cannot be read may be the very failure
	if f.CNIVersion = conf.CNIVersion; f.CNIVersion == "" {
		f.CNIVersion = "1.0.0"
	}
	b, err := json.Marshal(f)
	if err != nil {
		return 1
	}
	p.print(append(b, '\n'))
	return 1
}

// ask has the agent do what the command says.
func (p Plugin) ask(command string, config []byte) ([]byte, *failure) {
	method, ok := map[string]string{"ADD": "Add", "DEL": "Del", "CHECK": "Check", "STATUS": "Status", "GC": "GC"}[command]
	if !ok {
		return nil, failf(codeEnvironment, "CNI_COMMAND %q is none of ADD, DEL, CHECK, STATUS, GC, VERSION", command)
	}
	var conf struct {
		Socket string `json:"socket"`
	}
	if err := json.Unmarshal(config, &conf); err != nil {
		return nil, failf(codeDecoding, "the network configuration on standard input is not valid JSON of its kind: %v", err)
	}
	if conf.Socket == "" {
		conf.Socket = DefaultSocket
	}
	r := request{
		containerID: p.Getenv("CNI_CONTAINERID"),
		netns:       p.Getenv("CNI_NETNS"),
		ifName:      p.Getenv("CNI_IFNAME"),
		args:        p.Getenv("CNI_ARGS"),
		config:      config,
	}
	timeout := callTimeout
	if command == "DEL" {
		timeout = delTimeout
	}
	answer, err := call(conf.Socket, method, r, timeout)
	switch {
	case err != nil && command == "DEL":
		return nil, removeLink(r, err)
	case err != nil && command == "STATUS":
		return nil, failf(codeNotAvailable, "the podroute agent does not answer: %v", err)
	case err != nil:
		return nil, failf(codeTryAgainLater, "the podroute agent does not answer; see that it runs (podroute doctor): %v", err)
	}
	return answer.result, answer.err
}

// removeLink serves DEL without the agent, which did not answer because of why.
func removeLink(r request, why error) *failure {
	if r.containerID == "" || r.ifName == "" {
		return failf(codeEnvironment, "CNI_CONTAINERID or CNI_IFNAME is missing")
	}
	name := hostlink.For(r.containerID, r.ifName).Name
	conn, err := rtnl.Dial()
	if err == nil {
		defer func() { _ = conn.Close() }()
		err = conn.DeleteLinkByName(name)
	}
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return failf(codeTryAgainLater, "delete %s: %v; and the podroute agent does not answer: %v", name, err, why)
	}
	return nil
}
