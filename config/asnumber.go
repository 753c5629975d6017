package config

// ASNumber is a neighbour's AS: a number, "external" (any but ours) or "internal" (ours). It reads
// YAML numbers and strings alike.
type ASNumber string
