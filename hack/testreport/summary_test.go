package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSummary(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		events   string
		inCI     bool
		ok       bool
		lastLine string
		contains []string
	}{{
		name: "passes",
		events: `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"chatter\n"}
{"Action":"pass","Package":"p","Test":"TestA/sub","Elapsed":3}
{"Action":"pass","Package":"p","Test":"TestA","Elapsed":3}
{"Action":"pass","Package":"p","Elapsed":3.1}
{"Action":"skip","Package":"q","Elapsed":0}`,
		inCI: true, ok: true, lastLine: "2 passed, 0 failed, 0 skipped",
		contains: []string{"pass     3.1s  p\n", "slow     3.0s  p.TestA\n"},
	}, {
		name: "a failed test shows its output and is counted once",
		events: `{"Action":"output","Package":"p","Test":"TestA","Output":"got 1, want 2\n"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"fail","Package":"p"}`,
		lastLine: "0 passed, 1 failed, 0 skipped", contains: []string{"got 1, want 2\n", "FAILED: p.TestA\n"},
	}, {
		name:   "a skip is fine at home",
		events: `{"Action":"pass","Package":"p","Test":"TestA"}` + "\n" + `{"Action":"skip","Package":"p","Test":"TestB"}`,
		ok:     true, lastLine: "1 passed, 0 failed, 1 skipped", contains: []string{"skipped: p.TestB\n"},
	}, {
		name:   "a skip is a failure in CI",
		events: `{"Action":"pass","Package":"p","Test":"TestA"}` + "\n" + `{"Action":"skip","Package":"p","Test":"TestB"}`,
		inCI:   true, lastLine: "1 passed, 0 failed, 1 skipped",
	}, {
		name: "a package that does not build",
		events: `{"ImportPath":"p [p.test]","Action":"build-output","Output":"p.go:1: undefined: x\n"}
{"ImportPath":"p [p.test]","Action":"build-fail"}
{"Action":"output","Package":"p","Output":"FAIL\tp [build failed]\n"}
{"Action":"fail","Package":"p","FailedBuild":"p [p.test]"}`,
		lastLine: "0 passed, 1 failed, 0 skipped", contains: []string{"undefined: x", "build failed", "FAILED: p\n"},
	}, {
		name: "a package that panics or runs out of time",
		events: `{"Action":"output","Package":"p","Test":"TestA","Output":"panic: test timed out\n"}
{"Action":"fail","Package":"p"}`,
		lastLine: "0 passed, 1 failed, 0 skipped", contains: []string{"panic: test timed out\n"},
	}, {
		name: "no test at all", events: `{"Action":"skip","Package":"q"}`, lastLine: "0 passed, 0 failed, 0 skipped",
	}}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			s := newSummary(&out)
			if err := s.read(strings.NewReader(tt.events)); err != nil {
				t.Fatal(err)
			}
			if got := s.finish(tt.inCI); got != tt.ok {
				t.Errorf("ok = %v, want %v; printed:\n%s", got, tt.ok, out.String())
			}
			lines := strings.Split(strings.TrimSpace(out.String()), "\n")
			if got := lines[len(lines)-1]; got != tt.lastLine {
				t.Errorf("last line %q, want %q", got, tt.lastLine)
			}
			for _, want := range tt.contains {
				if !strings.Contains(out.String(), want) {
					t.Errorf("printed without %q:\n%s", want, out.String())
				}
			}
		})
	}
}

func TestOnceMore(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	s := newSummary(&out)
	events := `{"Action":"fail","Package":"p","Test":"TestA/one"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"fail","Package":"p","Test":"TestB"}
{"Action":"pass","Package":"p","Test":"TestC"}
{"Action":"fail","Package":"p"}`
	if err := s.read(strings.NewReader(events)); err != nil {
		t.Fatal(err)
	}
	again := alone(s.failures)
	if diff := cmp.Diff([]key{{"p", "TestA"}, {"p", "TestB"}}, again, cmp.AllowUnexported(key{})); diff != "" {
		t.Errorf("once more (-want +got):\n%s", diff)
	}
	want := []string{"-race", "-p", "2", "-count=1", "-run", "^TestA$", "p"}
	if diff := cmp.Diff(want, argsFor([]string{"-race", "-p", "2", "./..."}, again[0])); diff != "" {
		t.Errorf("arguments (-want +got):\n%s", diff)
	}
	s.forgive(again[0])
	if s.finish(true) {
		t.Error("a test that failed was forgiven with another")
	}
	for _, want := range []string{"failed among the others, passed alone: p.TestA\n", "FAILED: p.TestB\n", "3 passed, 1 failed, 0 skipped\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("printed without %q:\n%s", want, out.String())
		}
	}
	if alone([]key{{"p", ""}}) != nil || alone([]key{{"p", "A"}, {"p", "B"}, {"p", "C"}, {"p", "D"}}) != nil {
		t.Error("a package that failed, or many tests, are tried again")
	}
}

func TestModules(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for _, dir := range []string{".", "test/bench", ".cache/mod", "a/testdata/m", "a/b", "test/e2e", "test/e2e/api"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
		if dir == "a/b" {
			continue
		}
		if err := os.WriteFile(filepath.Join(root, dir, "go.mod"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := modules(root)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{root, filepath.Join(root, "test/bench")}, got); diff != "" {
		t.Errorf("modules (-want +got):\n%s", diff)
	}
}
