package lab

import (
	"fmt"
	"regexp"
	"strings"
)

// variable is $NAME, ${NAME} or ${NAME:=default}, also with :- in place of :=, as in containerlab.
var variable = regexp.MustCompile(`\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([^}\n]*)\})`)

var variableBody = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_]*)(?::[=-](.*))?$`)

// substitute replaces variables throughout a file, before it is read as YAML. A variable that is not
// set and has no default is an error: an empty string in its place would be a different lab.
func substitute(d *decoder, text string, lookup func(string) (string, bool)) string {
	var out strings.Builder
	for i, line := range strings.SplitAfter(text, "\n") {
		code := line
		if strings.HasPrefix(strings.TrimSpace(line), "#") {
			code = "" // a comment
			out.WriteString(line)
		}
		out.WriteString(variable.ReplaceAllStringFunc(code, func(found string) string {
			m := variable.FindStringSubmatch(found)
			name, fallback, hasFallback := m[1], "", false
			if name == "" {
				b := variableBody.FindStringSubmatch(m[2])
				if b == nil {
					d.errs = append(d.errs, fmt.Errorf("%s:%d: %s: supported: $NAME, ${NAME}, ${NAME:=default}", d.file, i+1, found))
					return ""
				}
				name, fallback, hasFallback = b[1], b[2], strings.Contains(m[2], ":")
			}
			if v, ok := lookup(name); ok && (v != "" || !hasFallback) {
				return v
			}
			if !hasFallback {
				d.errs = append(d.errs, fmt.Errorf("%s:%d: %s: the variable %s is not set and has no default; "+
					"a command's own variables belong in a script", d.file, i+1, found, name))
			}
			return fallback
		}))
	}
	return out.String()
}
