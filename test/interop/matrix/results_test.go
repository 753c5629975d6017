package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// told is what go test tells of a cell.
func told(test, daemon, action string, attrs ...string) []event {
	events := []event{
		{Action: "attr", Package: "p", Test: test, Key: "feature", Value: "leaving: it goes"},
		{Action: "attr", Package: "p", Test: test, Key: "daemon", Value: daemon},
	}
	for i := 0; i < len(attrs); i += 2 {
		events = append(events, event{Action: "attr", Package: "p", Test: test, Key: attrs[i], Value: attrs[i+1]})
	}
	return append(events, event{Action: "output", Package: "p", Test: test, Output: "said by " + test + "\n"}, event{Action: action, Package: "p", Test: test})
}

func TestCells(t *testing.T) {
	t.Parallel()
	var events []event
	events = append(events, told("A/bird", "bird", "pass", "measured", "1 lost", "measured", "2 lost")...)
	events = append(events, told("B/bird", "bird", "pass", "measured", "0 lost")...)
	events = append(events, told("A/frr", "frr", "pass", "measured", "3 lost")...)
	events = append(events, told("B/frr", "frr", "fail")...)
	events = append(events, told("A/gobgpd", "gobgpd", "pass", "lacks", "its manual")...)
	events = append(events, told("A/openbgpd", "openbgpd", "skip")...)
	r := newResults()
	for _, e := range events {
		r.take(e)
	}
	const feature = "leaving: it goes"
	want := []cell{
		{feature, "bird", passed, "0 lost; 1 lost; 2 lost"},
		{feature, "frr", failed, "said by B/frr"},
		{feature, "gobgpd", lacked, "its manual"},
		{feature, "openbgpd", failed, "said by A/openbgpd"},
	}
	got := r.cells(false)
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if listed := r.cells(true)[3]; listed.Result != passed {
		t.Errorf("a test that was only asked for its name: %+v", listed)
	}
	if got, want := figures(got), "leaving: it goes, bird: 0 lost; 1 lost; 2 lost\n"; got != want {
		t.Errorf("figures are %q, want %q", got, want)
	}
	if table := markdown(got); strings.Contains(table, "lost") {
		t.Errorf("there are figures in what goes into the page:\n%s", table)
	}
}

func TestDifference(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, page, tests, want string }{
		{"same", "a\nb\n", "a\nb\n", ""},
		{"row of the tests missing", "a\n", "a\nb\n", "only the tests have: b\n"},
		{"row without a test", "a\nb\n", "a\n", "only the page has:  b\n"},
		{"order", "b\na\n", "a\nb\n", "the same lines, in another order or number\n"},
		{"twice", "a\na\n", "a\n", "the same lines, in another order or number\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if d := cmp.Diff(c.want, difference(c.page, c.tests)); d != "" {
				t.Error(d)
			}
		})
	}
}
