// Package docs checks the repository's Markdown: every relative link leads to a file that is there,
// every anchor to a heading, and every `make` target that is named exists. It has tests only.
package docs
