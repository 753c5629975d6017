//go:build tools

package kubernetes

import _ "k8s.io/kubernetes/test/e2e" // go test -c makes e2e.test of it; a tool directive names programs only
