#!/bin/sh
# Before the files go. At an upgrade the service runs on, and is restarted after.
set -e
name=@NAME@
case "$1" in
	remove|deconfigure|0) ;;
	*) exit 0 ;;
esac
"$name" service stop >/dev/null 2>&1 || true
[ ! -d "/var/lib/$name" ] || touch "/var/lib/$name/removed"
if [ -d /run/systemd/system ]; then
	systemctl disable "$name" >/dev/null 2>&1 || true
fi
