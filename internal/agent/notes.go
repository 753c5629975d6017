package agent

import (
	"encoding/json"
	"os"
)

// writeNote leaves v, as JSON, in a file of the run folder for agents to come: the whole of it, or what was there before.
func writeNote(file string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := os.WriteFile(file+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}
