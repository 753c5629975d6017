// Package file reads the configuration from a folder of manifests: every *.yaml, *.yml and *.json in
// it, subfolders and names that start with a dot excepted.
//
// It owns nothing but its watches. A Source reads the folder once in New, and in Run again whenever
// something in it moves: edits in place, a new file renamed over an old one, the symbolic links of
// a ConfigMap mount swapped, the folder itself exchanged, a password file rewritten. Whoever writes a file
// in several steps is given time to finish: the folder is read once it has been quiet for a moment.
// Should a file system not tell of changes, a slow second look finds them.
//
// Invariants:
//
//   - What a broken edit replaces stays in force: the whole file where its text is no YAML or cannot be
//     read, else the objects that went bad. A Problem says so until the file is mended.
//   - A folder that cannot be read while running changes nothing.
//   - A file or object that is deleted is gone at once.
//
// Watches are on directories, by their real paths, because a watch on a file follows the file that
// was there and not its name.
//
// Concurrency: Run owns the files; Snapshot and Changed may be called from anywhere. Changed carries no
// data and coalesces.
package file
