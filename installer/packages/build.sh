#!/usr/bin/env bash
# Builds all that is handed out for a version: for Linux a deb, an rpm and a zip,
# for Windows an MSI and a zip, of each program for each architecture; a bill of
# materials (CycloneDX) of each program, and SHA256SUMS.
#
#   installer/packages/build.sh OUT
#
# In the environment:
#   VERSION            1.2.3, or 1.2.3-rc1; anything else is taken for a build
#                      between versions, 0.0.0 to whatever compares them
#   PLATFORMS          "windows/amd64 linux/amd64 linux/arm64"
#   SOURCE_DATE_EPOCH  the time that is put into the packages, in seconds; by
#                      default the commit's
#   SIGN_CERT SIGN_KEY PEM files with which Windows programs and MSIs are signed
#                      (Authenticode); SIGN_PASS_FILE has the key's passphrase,
#                      SIGN_TIMESTAMP is the address of a time stamping service
#   SIGN_PKCS11        instead of SIGN_KEY: osslsigncode's options for a token,
#                      such as "-pkcs11module /usr/lib/x.so -key pkcs11:..."
set -euo pipefail
umask 022 # the packages have the modes of what is gathered here
cd "$(dirname "$0")/../.."
out=${1:?usage: build.sh OUT}
mkdir -p "$out"
out=$(cd "$out" && pwd)
rm -f "$out"/*
here=installer/packages
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

NFPM=github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2
CYCLONEDX=github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.9.0
GO=${GO:-go}
PLATFORMS=${PLATFORMS:-windows/amd64 linux/amd64 linux/arm64}
VERSION=${VERSION:-$(git describe --tags --always --dirty 2>/dev/null || echo dev)}
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 315532800)}
export CGO_ENABLED=0 TZ=UTC LC_ALL=C

version=${VERSION#v}
if [[ $version =~ ^([0-9]+\.[0-9]+\.[0-9]+)(-(.+))?$ ]]; then
	numeric=${BASH_REMATCH[1]} # all that Windows compares
	packaged=${BASH_REMATCH[1]}${BASH_REMATCH[3]:+~${BASH_REMATCH[3]//-/.}}
else
	numeric=0.0.0
	packaged=0.0.0~${version//-/.}
fi

describe() {
	case $1 in
	agent) echo "Puts child protection flags before the clinician when a patient attends." ;;
	central) echo "Flag service: child protection flags in, answers and notifications out." ;;
	esac
}

# dated gives files the time of the version, so that archives of the same files
# are the same archives.
dated() { find "$@" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +; }

fill() { # fill FILE... < template: NAME=value pairs into @NAME@
	local script=()
	for pair in "$@"; do script+=(-e "s|@${pair%%=*}@|${pair#*=}|g"); done
	sed "${script[@]}"
}

sign() { # sign FILE DESCRIPTION: in place
	[[ -n ${SIGN_CERT:-} ]] || return 0
	local key=(-key "${SIGN_KEY:-}")
	[[ -z ${SIGN_PKCS11:-} ]] || read -ra key <<<"$SIGN_PKCS11"
	osslsigncode sign -h sha256 -certs "$SIGN_CERT" "${key[@]}" \
		${SIGN_PASS_FILE:+-readpass "$SIGN_PASS_FILE"} ${SIGN_TIMESTAMP:+-ts "$SIGN_TIMESTAMP"} \
		-n "$2" -i https://github.com/safeguard-edge/safeguard -in "$1" -out "$1.signed" >/dev/null
	mv "$1.signed" "$1"
}

# documents of a program, the same in each package
documents() { # documents PROGRAM FOLDER
	mkdir -p "$2"
	install -m 0644 LICENSE configs/"$1".*.yaml docs/install-*.md "$2/"
	dated "$2"
}

linux_packages() { # linux_packages PROGRAM ARCH BINARY
	local name=safeguard-$1 w=$work/nfpm-$1-$2
	mkdir -p "$w"
	documents "$1" "$w/doc"
	"$host/$name" service unit --program "/usr/bin/$name" >"$w/$name.service"
	"$host/$name" service unit --init --program "/usr/bin/$name" >"$w/$name.init"
	fill NAME="$name" <$here/scripts/logrotate >"$w/$name.logrotate"
	for script in postinst prerm postrm; do
		fill NAME="$name" CONFIG="$1.yaml" <$here/scripts/$script.sh >"$w/$script.sh"
	done
	dated "$w" "$3"
	fill NAME="$name" ARCH="$2" VERSION="$packaged" LICENSE=Apache-2.0 DESCRIPTION="$(describe "$1")" \
		MTIME="$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)" PROGRAM="$3" WORK="$w" <$here/nfpm.yaml >"$w/nfpm.yaml"
	for packager in deb rpm; do
		"$work/tools/nfpm" package -f "$w/nfpm.yaml" -p $packager -t "$out/" >/dev/null
	done
}

# guid makes a GUID that is the same for the same text.
guid() {
	local h
	h=$(printf %s "$1" | sha256sum)
	h=${h^^}
	echo "${h:0:8}-${h:8:4}-4${h:13:3}-8${h:17:3}-${h:20:12}"
}

# at_its_time runs what writes the time of day into its file.
at_its_time() { faketime -f "$(date -u -d "@$SOURCE_DATE_EPOCH" '+%Y-%m-%d %H:%M:%S')" "$@"; }

msi() { # msi PROGRAM BINARY
	local target="$out/safeguard-$1_${version}_windows_amd64.msi" folder=msi-$1 description
	description=$(describe "$1")
	documents "$1" "$work/$folder"
	# A shell on Windows reads no more of a text file than it has to.
	sed -i 's/$/\r/' "$work/$folder/install-windows.md"
	dated "$work/$folder" "$2"
	cp -p "$2" "$work/$folder/"
	# wixl takes paths from the folder of the .wxs. The product is another one for each
	# version; what is upgraded, and its components, are always the same.
	cp $here/windows.wxs "$work/$folder.wxs"
	(cd "$work" && at_its_time wixl --arch x64 -D Name="$1" -D Title="${1^}" -D Description="${description%.}" -D Version="$numeric" -D Folder="$folder" \
		-D Product="{$(guid "$1 product $version")}" -D Upgrade="$(guid "$1 upgrade")" \
		-D ProgramComponent="$(guid "$1 program")" -D DocumentsComponent="$(guid "$1 documents")" -o "$target" "$folder.wxs")
	# What wixl does not know: properties that an elevated install takes from the
	# command line; to remove the former version within the transaction, so that it
	# is brought back when the new one fails; and an identity of the file that
	# follows from what is in it.
	at_its_time msibuild "$target" -q "UPDATE Property SET Value = 'CONFIGFILE;PURGE;STARTSERVICE;TOKENFILE;WIX_DOWNGRADE_DETECTED;WIX_UPGRADE_DETECTED' WHERE Property = 'SecureCustomProperties'"
	at_its_time msibuild "$target" -q "UPDATE InstallExecuteSequence SET Sequence = 1501 WHERE Action = 'RemoveExistingProducts'"
	at_its_time msibuild "$target" -s "Safeguard $1 $version" Safeguard 'x64;1033' "{$(guid "$1 package $(cat "$work/$folder"/* $here/windows.wxs | sha256sum)")}"
	sign "$target" "Safeguard $1"
}

# The unit and the init script are the program's own word.
host=$work/host
mkdir -p "$host"
ldflags="-s -w -X main.version=$VERSION"
mkdir "$work/tools"
GOBIN=$work/tools $GO install $NFPM
GOBIN=$work/tools $GO install $CYCLONEDX
for program in agent central; do
	$GO build -trimpath -ldflags "$ldflags" -o "$host/safeguard-$program" ./$program/cmd/safeguard-$program
done

for platform in $PLATFORMS; do
	os=${platform%/*} arch=${platform#*/}
	for program in agent central; do
		name=safeguard-$program
		folder=$work/${name}_${version}_${os}_$arch
		mkdir -p "$folder"
		binary=$folder/$name
		[[ $os != windows ]] || binary+=.exe
		GOOS=$os GOARCH=$arch $GO build -trimpath -ldflags "$ldflags" -o "$binary" ./$program/cmd/$name
		chmod 0755 "$binary"
		"$work/tools/cyclonedx-gomod" bin -json -noserial -std -version "$version" -output "$out/${name}_${version}_${os}_$arch.cdx.json" "$binary" 2>/dev/null
		sed -i "s/\"timestamp\": \".*\"/\"timestamp\": \"$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)\"/" "$out/${name}_${version}_${os}_$arch.cdx.json"
		if [[ $os = windows ]]; then
			sign "$binary" "Safeguard $program"
			msi "$program" "$binary"
		else
			linux_packages "$program" "$arch" "$binary"
		fi
		documents "$program" "$folder"
		dated "$folder"
		(cd "$work" && find "$(basename "$folder")" -type f | sort | zip -q -X -9 "$out/$(basename "$folder").zip" -@)
	done
done

(cd "$out" && sha256sum -- * >"$work/SHA256SUMS" && mv "$work/SHA256SUMS" .)
ls -1 "$out"
