#!/bin/sh
# After the files are there. deb says "configure [old version]", rpm how many
# versions are installed.
set -e
name=@NAME@
case "$1" in
	configure) [ -z "$2" ] && first=yes || first= ;;
	1) first=yes ;;
	2) first= ;;
	*) exit 0 ;;
esac
# One that was removed, and kept what it keeps, is installed as if for the first time.
if [ -e "/var/lib/$name/removed" ]; then
	first=yes
	rm -f "/var/lib/$name/removed"
fi

"$name" service prepare
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	[ -z "$first" ] || systemctl enable "$name" >/dev/null 2>&1 || true
elif command -v update-rc.d >/dev/null; then
	update-rc.d "$name" defaults >/dev/null
fi

# An image that is being built starts no services.
if [ -x /usr/sbin/policy-rc.d ] && ! /usr/sbin/policy-rc.d "$name" start >/dev/null 2>&1; then
	exit 0
fi
# A service that does not start is not a package that was not installed: why it
# does not is said here and by: $name service status
if [ -n "$first" ]; then
	"$name" service start --if-configured || true
elif ! "$name" service status --json 2>/dev/null | grep -q '"state":"stopped"'; then
	"$name" service restart --if-configured || true
fi
