#!/bin/sh
# After the files are gone. What the service keeps stays, unless it is purged.
set -e
name=@NAME@
config=/etc/$name/@CONFIG@
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload || true
fi
[ "$1" = purge ] || exit 0

# The keys first: should this be cut short, what is left can not be read. The
# master key may be elsewhere, and so may what it seals, if the configuration
# says so.
value() { sed -n "s/^$1:[[:space:]]*\"\{0,1\}\([^\"#]*[^\"#[:space:]]\).*/\1/p" "$config" 2>/dev/null | head -n 1; }
within() { case "$1" in /*) echo "$1" ;; ?*) echo "/etc/$name/$1" ;; esac }
master=$(within "$(value master_key)")
data=$(within "$(value data)")
for path in "$master" "$master.new" "/etc/$name/master.key" "${data:-/var/lib/$name}/keys" "/var/lib/$name/keys" "/etc/$name/certificates"; do
	[ -n "$path" ] && [ -e "$path" ] || continue
	find "$path" -xdev -type f -exec shred -n 1 -z -u -- {} +
done
rm -rf "/var/lib/$name" "/etc/$name" "/run/$name" "/var/log/$name.log"*
if command -v update-rc.d >/dev/null; then
	update-rc.d "$name" remove >/dev/null 2>&1 || true
fi
if getent passwd "$name" >/dev/null; then
	userdel "$name" >/dev/null 2>&1 || true
fi
