package lab

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite goldens")

// golden compares with a file, in which this folder is written as DIR.
func golden(t *testing.T, file, got string) {
	t.Helper()
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	got = strings.ReplaceAll(got, wd, "DIR")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got, -update rewrites it):\n%s", file, diff)
	}
}

func variables(name string) (string, bool) {
	v, ok := map[string]string{"SET": "set"}[name]
	return v, ok
}

func TestLoad(t *testing.T) {
	t.Parallel()
	top, err := LoadWith("testdata/good.clab.yml", variables)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.MarshalIndent(top, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/good.golden", string(text)+"\n")
	golden(t, "testdata/good.graph.golden", top.Draw()+"\n"+top.Mermaid()+"\n"+top.Dot())
}

// Every mistake is told, each with file, line and key.
func TestLoadErrors(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/bad/*.clab.yml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		t.Run(filepath.Base(f), func(t *testing.T) {
			top, err := LoadWith(f, variables)
			if err == nil {
				t.Fatalf("no error; read %+v", top)
			}
			golden(t, strings.TrimSuffix(f, ".clab.yml")+".golden", err.Error()+"\n")
		})
	}
}

func TestLoadMissingFile(t *testing.T) {
	t.Parallel()
	if _, err := Load("testdata/absent.clab.yml"); !os.IsNotExist(unwrapAll(err)) {
		t.Errorf("error %v, want one that the file does not exist", err)
	}
}

func unwrapAll(err error) error {
	for {
		u, ok := err.(interface{ Unwrap() error })
		if !ok {
			return err
		}
		err = u.Unwrap()
	}
}

func TestSplit(t *testing.T) {
	t.Parallel()
	for line, want := range map[string][]string{
		"":                                     nil,
		"  a  b\tc\n":                          {"a", "b", "c"},
		`sh -c 'a "b" $c'`:                     {"sh", "-c", `a "b" $c`},
		`a"b c"'d e'f`:                         {"ab cd ef"},
		`'' ""`:                                {"", ""},
		`a\ b \\ \'`:                           {"a b", `\`, `'`},
		`"a\"b\\c\d\$e"`:                       {`a"b\c\d$e`},
		`ip -6 addr add fd00::1/64 dev eth1`:   {"ip", "-6", "addr", "add", "fd00::1/64", "dev", "eth1"},
		"a\\":                                  {`a\`},
		`vtysh -c "show bgp summary" -c 'x y'`: {"vtysh", "-c", "show bgp summary", "-c", "x y"},
	} {
		got, err := Split(line)
		if err != nil {
			t.Errorf("%q: %v", line, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", line, diff)
		}
	}
	for _, line := range []string{`'`, `a "b`, `"a\"`} {
		if got, err := Split(line); err == nil {
			t.Errorf("%q: %q, want an error", line, got)
		}
	}
}

func FuzzLoad(f *testing.F) {
	good, err := os.ReadFile("testdata/good.clab.yml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(good))
	f.Add("a: &a [*a]")
	f.Add("<<: *a")
	f.Add("topology: {nodes: {a: }}")
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text string) {
		file := filepath.Join(dir, "fuzz.clab.yml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		top, err := LoadWith(file, variables)
		if (top == nil) == (err == nil) {
			t.Errorf("topology %v and error %v", top, err)
		}
	})
}
