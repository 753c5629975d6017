package cni_test

const serveEnv = "PODROUTE_TEST_SERVE"

func serveForCrashTest(string) {}
