# Everything a developer or CI runs. Tools are pinned, built from source by the Go toolchain and kept
# in .cache/; Debian packages that tests and the demo need are installed when they are missing.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION)

GOLANGCI_LINT_VERSION := v2.15.0
PROTOC_GEN_GO_GRPC_VERSION := v1.6.2
CONTROLLER_GEN_VERSION := v0.23.0
HELM_VERSION := v4.3.1

CACHE := $(CURDIR)/.cache
BIN := $(CACHE)/bin
LINT := $(BIN)/golangci-lint-$(GOLANGCI_LINT_VERSION)
HELM := $(BIN)/helm-$(HELM_VERSION)
export GOLANGCI_LINT_CACHE := $(CACHE)/golangci-lint

# Packages built and tested at the same time, and how long one package's tests may take.
JOBS ?= 2
TIMEOUT ?= 15m
# What to test: make test PKG=./routes RUN=TestForeign
PKG ?= ./...
RUN ?=

# This module, and the nested ones, which keep what they need out of its go.mod.
MODULES := $(shell find . -path './.?*' -prune -o -name go.mod -printf '%h ')

DEMO_PACKAGES := iproute2 iputils-ping procps util-linux
TEST_PACKAGES := $(DEMO_PACKAGES) bird2 frr gobgpd openbgpd pmacct nftables tcpdump tshark conntrack gcc libc6-dev
CHECK_PACKAGES := protobuf-compiler
E2E_PACKAGES := iproute2 iputils-ping procps util-linux bird2 frr runit etcd-server containerd runc conntrack nftables iptables \
	socat ebtables tcpdump curl netcat-openbsd bind9-dnsutils iperf busybox-static containernetworking-plugins

##@ Build and run

.PHONY: build
build: ## Build podroute, podroute-cni and podroute-lab into build/
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o build/ ./cmd/...

# IMAGE=name:tag names it; GOARCH=arm64 builds it for another machine.
IMAGE ?= localhost/podroute:dev
.PHONY: image
image: ## Build the container image into build/podroute-image.tar, without a container engine
	env -u GOARCH go -C hack/image run . -tag '$(IMAGE)' -version '$(VERSION)' $(if $(GOARCH),-arch '$(GOARCH)') -o '$(CURDIR)/build/podroute-image.tar'

# DEMO_FLAGS='--router frr --keep --json'
.PHONY: demo
demo: demo-packages build ## Two racks, four nodes, twelve pods: prove the main job, then break things (as root)
	build/podroute-lab demo $(DEMO_FLAGS)

##@ Test

.PHONY: test
test: test-packages ## Every test, with the race detector (as root); PKG=./routes RUN=TestName narrows it
	go run ./hack/testreport -race -p $(JOBS) -timeout $(TIMEOUT) $(if $(RUN),-run '$(RUN)') $(PKG)
	$(if $(filter-out ./...,$(PKG))$(RUN),,go -C test/crds test ./...)

.PHONY: check
check: lint vet generated ## Format, lint, vet, layering, links, manifests, modules, generated files; offline once the tools are built
	go test ./test/layering ./test/docs
	go run ./test/interop/matrix -check # docs/interop.md has the rows that the tests declare
	go -C test/manifests test -count=1 . # what it reads is outside its module, where the cache does not look
	go -C test/e2e test -count=1 ./scenarios # docs/e2e.md has them all
	for module in $(MODULES); do go -C $$module mod tidy -diff; done

.PHONY: interop
interop: test-packages ## Every BGP feature against FRR, BIRD, OpenBGPD and gobgpd: a table, and build/interop.json (as root)
	go run ./test/interop/matrix

.PHONY: vet
vet: ## Run go vet, also on what only test builds hold
	for module in $(MODULES); do go -C $$module vet ./...; done
	go vet -tags failpoint ./...

.PHONY: lint
lint: $(LINT) ## Run golangci-lint (.golangci.yml)
	for module in $(MODULES); do (cd $$module && $(LINT) run ./...); done

.PHONY: fmt
fmt: $(LINT) ## Format every Go file (gofumpt)
	for module in $(MODULES); do (cd $$module && $(LINT) fmt ./...); done

# E2E_FLAGS='-run churn -upstream=false'; docs/e2e.md has them all.
.PHONY: e2e
e2e: e2e-packages build image $(HELM) e2e-harness ## Real Kubernetes in namespaces: our scenarios, upstream's conformance (as root)
	build/podroute-e2e run -helm '$(HELM)' $(E2E_FLAGS)

.PHONY: e2e-api
e2e-api: e2e-packages build ## config/kube with a real API server, built by make e2e (as root); RUN=TestMemory narrows it
	go -C test/e2e/api test -count=1 -timeout 20m $(if $(RUN),-v -run '$(RUN)') ./...

# CLUSTER_FLAGS='-proxy iptables', '-cluster pools'
.PHONY: cluster cluster-down
cluster: e2e-packages build image $(HELM) e2e-harness ## The same cluster, left up for you (as root)
	build/podroute-e2e up -helm '$(HELM)' $(CLUSTER_FLAGS)
cluster-down: e2e-harness ## End what make cluster left up
	build/podroute-e2e down

.PHONY: e2e-harness
e2e-harness:
	@CGO_ENABLED=0 go -C test/e2e build -o '$(CURDIR)/build/podroute-e2e' .

##@ Measure

.PHONY: bench
bench: bench-cni bench-fib ## Every side-by-side figure

.PHONY: bench-cni
bench-cni: test-packages build ## CNI ADD and DEL beside the reference plugins ptp and host-local
	go -C test/bench-cni run .

.PHONY: bench-fib
bench-fib: test-packages build ## 100,000 prefixes into the kernel's routing table, beside BIRD
	go run ./test/bench-fib

# 3 times 50 ms; BFD_ROUNDS=5 for a first look.
BFD_ROUNDS ?= 20
.PHONY: bench-bfd
bench-bfd: test-packages ## How long a router that falls silent stays in the FIB, with BIRD and with FRR
	go test ./test/interop -run '^$$' -bench BFDSilence -benchtime $(BFD_ROUNDS)x -timeout 30m

BFD_SECONDS ?= 600
.PHONY: bench-bfd-load
bench-bfd-load: test-packages ## False alarms of BFD in ten minutes of load on all processors
	go test ./test/interop -run '^$$' -bench BFDLoad -benchtime $(BFD_SECONDS)x -timeout 60m

.PHONY: test-failover
test-failover: test-packages build ## Cut an uplink of a dual-homed node twenty times and measure the gaps
	build/podroute-lab failover

##@ Housekeeping

.PHONY: generate
generate: check-packages plugins ## Write generated files anew
	PATH='$(BIN)':"$$PATH" go generate ./...

.PHONY: manifests
manifests: ## Validate what deploy/ installs
	go -C test/manifests test -count=1 . # what it reads is outside its module, where the cache does not look

.PHONY: helm
helm: $(HELM) ## Build the helm command line into .cache/bin, where there is none
	@echo '$<'

.PHONY: generated
generated: plugins
	PATH='$(BIN)':"$$PATH" hack/generated.sh

.PHONY: clean
clean: ## Remove what was built, and the tools in .cache/
	rm -rf build '$(CACHE)'

.PHONY: help
help: ## Print this list
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@/ { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z0-9-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: demo-packages test-packages check-packages e2e-packages
demo-packages:
	@hack/packages.sh $(DEMO_PACKAGES) $(foreach router,frr bird,$(if $(findstring $(router),$(DEMO_FLAGS)),$(router:bird=bird2)))
test-packages:
	@hack/packages.sh $(TEST_PACKAGES)
e2e-packages:
	@hack/packages.sh $(E2E_PACKAGES)
check-packages:
	@hack/packages.sh $(CHECK_PACKAGES)

# Generators: plugins of protoc that belong to a library come from the version that go.mod requires;
# controller-gen writes deep copies and the CRDs of package config.
.PHONY: plugins
plugins: $(BIN)/protoc-gen-go-grpc-$(PROTOC_GEN_GO_GRPC_VERSION) $(BIN)/controller-gen-$(CONTROLLER_GEN_VERSION)
	@mkdir -p '$(BIN)'
	@go build -o '$(BIN)/' google.golang.org/protobuf/cmd/protoc-gen-go \
		github.com/containerd/ttrpc/cmd/protoc-gen-go-ttrpc
	@ln -sf 'protoc-gen-go-grpc-$(PROTOC_GEN_GO_GRPC_VERSION)' '$(BIN)/protoc-gen-go-grpc'
	@ln -sf 'controller-gen-$(CONTROLLER_GEN_VERSION)' '$(BIN)/controller-gen'

$(BIN)/protoc-gen-go-grpc-%:
	@hack/install.sh google.golang.org/grpc/cmd/protoc-gen-go-grpc '$*' '$@'

$(BIN)/controller-gen-%:
	@hack/install.sh sigs.k8s.io/controller-tools/cmd/controller-gen '$*' '$@'

$(BIN)/golangci-lint-%:
	@hack/install.sh github.com/golangci/golangci-lint/v2/cmd/golangci-lint '$*' '$@'

$(BIN)/helm-%:
	@hack/install.sh helm.sh/helm/v4/cmd/helm '$*' '$@'
