package lab

import (
	"errors"
	"strings"
)

// Split cuts a command line into words as a POSIX shell does (IEEE 1003.1, 2.2 Quoting), and no
// more than that: no variables, globs or pipes. Containerlab does the same to cmd and exec; who
// wants a shell writes sh -c.
func Split(line string) ([]string, error) {
	var (
		words []string
		word  strings.Builder
		in    bool // inside a word, which may be empty: ''
		quote byte
	)
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case quote == '\'' && c != '\'':
			word.WriteByte(c)
		case quote == '"' && c == '\\' && i+1 < len(line) && strings.IndexByte("\"\\$`", line[i+1]) >= 0,
			quote == 0 && c == '\\' && i+1 < len(line):
			i++
			in = true
			word.WriteByte(line[i])
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word.WriteByte(c)
		case c == '\'' || c == '"':
			quote, in = c, true
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			if in {
				words = append(words, word.String())
				word.Reset()
				in = false
			}
		default:
			in = true
			word.WriteByte(c)
		}
	}
	if quote != 0 {
		return nil, errors.New("a quote (" + string(quote) + ") is never closed")
	}
	if in {
		words = append(words, word.String())
	}
	return words, nil
}
