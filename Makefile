# make            the targets
# make demo       the main job, on this machine, with made-up patients
# make test       all tests

SHELL      := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
VERSION    ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS    := -s -w -X main.version=$(VERSION)
GO         ?= go
PROGRAMS   := safeguard-agent safeguard-central
PLATFORMS  := windows/amd64 linux/amd64 linux/arm64
PEERS      := test/interop/node_modules/.package-lock.json
FUZZTIME   ?= 15s
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

export CGO_ENABLED ?= 0

.DEFAULT_GOAL := help
.PHONY: help build demo test fuzz deps bench interop lint generate cross packages packages-test clean

help: ## show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

build: ## build both programs into bin/
	@mkdir -p bin
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/safeguard-agent ./agent/cmd/safeguard-agent
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/safeguard-central ./central/cmd/safeguard-central

demo: build ## a centre, an agent and a simulated hospital; alerts appear (KEEP=1 leaves it running)
	@$(GO) build -o bin/demo ./test/demo
	@bin/demo $(if $(KEEP),--keep) --programs bin

test: ## all tests, with the race detector; says what it skips and why
	@$(GO) build -o bin/report ./test/report
	@CGO_ENABLED=1 $(GO) test -race -count 1 -timeout 20m -json ./... 2>&1 | bin/report $(if $(CI),--no-skips)

fuzz: ## each fuzz target for 15 s, one after another (FUZZTIME=1m, ONLY=regexp runs a part); keeps what fails in testdata/fuzz
	@failed=; \
	while IFS=: read -r file target; do \
	  package=$${file%/*} target=$${target#func }; \
	  [[ "$$package $$target" =~ $(or $(ONLY),.) ]] || continue; \
	  echo "$$package $$target"; \
	  $(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 100x -parallel 2 "$$package" </dev/null || failed+=" $$package.$$target"; \
	done < <(grep -rHo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . | sort); \
	test -z "$$failed" || { echo "failed:$$failed"; exit 1; }

deps: ## install what tests and generated code need beyond Go and make (Debian, as root)
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends gcc libc6-dev protobuf-compiler libprotobuf-dev mosquitto poppler-utils postgresql e2fsprogs mount \
	  cpio faketime msitools osslsigncode rpm rpm2cpio unzip wixl zip systemd procps util-linux chromium wine wine64 binutils-mingw-w64-x86-64
	command -v npm >/dev/null || DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends nodejs npm
	npm install --prefix page/pagetest/testdata/browser --no-package-lock --no-audit --no-fund --ignore-scripts --silent
	$(MAKE) --no-print-directory $(PEERS)

bench: build ## measure; prints a table and writes bench.json (ONLY=regexp runs a part)
	@$(GO) run ./test/bench $(if $(ONLY),--only '$(ONLY)')

interop: $(PEERS) ## what is put into EPRs against peers and validators of others, which npm installs (needs Node 20 or later)
	$(GO) test -tags interop -count 1 -timeout 10m ./test/interop

$(PEERS): test/interop/package-lock.json
	npm ci --prefix test/interop --no-audit --no-fund --ignore-scripts --silent
	@touch $@

lint: ## gofmt, go vet for both systems, staticcheck
	@test -z "$$(gofmt -l .)" || { echo "not formatted by gofmt:"; gofmt -l .; exit 1; }
	$(GO) vet ./...
	GOOS=windows $(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	$(GO) vet -tags packages ./test/packages
	$(GO) vet -tags interop ./test/interop

generate: ## make the generated code anew
	central/flagpb/generate.sh
	$(GO) run ./test/reference

cross: ## build both programs for each platform
	@for p in $(PLATFORMS); do for c in agent central; do \
	  out=dist/$${p/\//-}/safeguard-$$c; [[ $$p == windows/* ]] && out=$$out.exe; \
	  GOOS=$${p%/*} GOARCH=$${p#*/} $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $$out ./$$c/cmd/safeguard-$$c; echo $$out; \
	done; done

packages: ## deb, rpm, MSI and zip of each program into dist/packages, with checksums and bills of materials
	VERSION=$(VERSION) PLATFORMS='$(PLATFORMS)' installer/packages/build.sh dist/packages

packages-test: ## build packages of two versions; install, upgrade, run and remove them, Windows' under wine (Linux, as root)
	$(GO) test -count 1 -timeout 25m -v -tags packages ./test/packages

clean: ## remove what was built
	rm -rf bin dist bench.json
