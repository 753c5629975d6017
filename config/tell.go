package config

import "log/slog"

// LogProblems logs the problems that are new, and how many are gone.
func LogProblems(log *slog.Logger, before, after []Problem) {
	old := map[Problem]bool{}
	for _, p := range before {
		old[p] = true
	}
	for _, p := range after {
		if !old[p] {
			log.Warn("configuration problem", "problem", p.Error())
		}
		delete(old, p)
	}
	if len(old) > 0 {
		log.Info("configuration problems mended", "mended", len(old), "left", len(after))
	}
}
