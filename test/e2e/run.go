package main

import "context"

func (h *harness) run(ctx context.Context, args []string) error { return nil }
