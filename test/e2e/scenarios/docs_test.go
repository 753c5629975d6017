package scenarios

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the table of docs/e2e.md anew")

// TestTable: docs/e2e.md lists every scenario, with the clusters that it runs on.
func TestTable(t *testing.T) {
	t.Parallel()
	const (
		file  = "../../../docs/e2e.md"
		begin = "<!-- scenarios: go -C test/e2e test ./scenarios -update -->\n"
		end   = "<!-- end of scenarios -->\n"
	)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found1 := strings.Cut(string(text), begin)
	have, after, found2 := strings.Cut(rest, end)
	if !found1 || !found2 {
		t.Fatalf("%s has no place for the table, between %s and %s", file, begin, end)
	}
	if want := table(); have != want {
		if *update {
			err = os.WriteFile(file, []byte(before+begin+want+end+after), 0o644)
		}
		if err != nil || !*update {
			t.Errorf("the table of %s is not that of the scenarios; -update writes it anew: %v\n%s", file, err, want)
		}
	}
}

func table() string {
	onTor, onPools := namesOf(All()), namesOf(OnPools())
	var out strings.Builder
	out.WriteString("| scenario | shows that | cluster |\n|---|---|---|\n")
	told := map[string]bool{}
	for _, g := range append(All(), OnPools()...) {
		titled := false
		for _, s := range g.Scenarios {
			if told[s.Name] {
				continue
			}
			told[s.Name] = true
			if !titled {
				fmt.Fprintf(&out, "| **%s** | | |\n", g.Title)
				titled = true
			}
			where := "tor"
			switch {
			case onTor[s.Name] && onPools[s.Name]:
				where = "both"
			case onPools[s.Name]:
				where = "pools"
			}
			fmt.Fprintf(&out, "| `%s` | %s | %s |\n", s.Name, s.Shows, where)
		}
	}
	return out.String()
}

func namesOf(groups []Group) map[string]bool {
	all := map[string]bool{}
	for _, g := range groups {
		for _, s := range g.Scenarios {
			all[s.Name] = true
		}
	}
	return all
}
