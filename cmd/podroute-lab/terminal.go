package main

import (
	"fmt"
	"os"

	"golang.org/x/term"
)

// progress prints lines on standard error, in colour on a terminal only.
func progress(text string) {
	fmt.Fprintf(os.Stderr, "%s %s\n", paint(os.Stderr, "32", "✓"), text)
}

func note(text string) {
	fmt.Fprintf(os.Stderr, "%s %s\n", paint(os.Stderr, "33", "note:"), text)
}

func paint(f *os.File, colour, text string) string {
	if !colourful(f) {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

func colourful(f *os.File) bool {
	return os.Getenv("NO_COLOR") == "" && term.IsTerminal(int(f.Fd()))
}
