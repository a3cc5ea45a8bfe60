#!/bin/sh
# Writes the Go code of safeguard.proto beside it. The same protoc
# (3.21.12, Debian's protobuf-compiler) and the plugins named below give the
# same bytes, so that a difference after running this is drift.
set -eu
cd "$(dirname "$0")"

want="libprotoc 3.21.12"
have=$(protoc --version 2>/dev/null) || {
	echo "generate.sh: protoc is not installed, want $want (apt-get install protobuf-compiler)" >&2
	exit 1
}
if [ "$have" != "$want" ]; then
	echo "generate.sh: protoc is $have, want $want" >&2
	exit 1
fi

# The plugins are built outside the module, so that go.mod does not carry them.
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
GOBIN=$bin GOFLAGS=-mod=mod go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
GOBIN=$bin GOFLAGS=-mod=mod go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2

PATH=$bin:$PATH protoc \
	--go_out=. --go_opt=paths=source_relative \
	--go-grpc_out=. --go-grpc_opt=paths=source_relative \
	safeguard.proto
