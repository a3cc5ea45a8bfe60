#!/bin/sh
### BEGIN INIT INFO
# Provides:          {{.Name}}
# Required-Start:    $remote_fs $network $named
# Required-Stop:     $remote_fs $network
# Should-Start:      $time $syslog
# Default-Start:     2 3 4 5
# Default-Stop:      0 1 6
# Short-Description: {{.DisplayName}}
# Description:       {{.Description}}
### END INIT INFO
# For systems without systemd. It does not start again what has failed: let
# monit, or whatever watches the system's other daemons, do that.

name={{.Name}}
program={{.Program}}
config={{.Config}}
pidfile=/run/$name.pid
log=/var/log/$name.log
PATH=/usr/sbin:/usr/bin:/sbin:/bin

[ -x "$program" ] || exit 5

running() { start-stop-daemon --status --pidfile "$pidfile" --exec "$program"; }

start() {
	if running; then
		echo "Running"
		return 0
	fi
	"$program" service prepare || return 1
	mkdir -p "/run/$name" && chown "$name:$name" "/run/$name" && rm -f "/run/$name/state.json" || return 1
	touch "$log" && chown "$name:$name" "$log" && chmod 0640 "$log" || return 1
	# No memory of it on disk: there are patients and keys in it.
	ulimit -c 0
	ulimit -n 65536 2>/dev/null || true
	start-stop-daemon --start --background --make-pidfile --pidfile "$pidfile" --chuid "$name:$name" \
		--umask 077 --chdir / --no-close --exec "$program" -- run --service --config "$config" \
		</dev/null >>"$log" 2>&1 || return 1
	# Started means that it listens.
	"$program" service status --await 2m
}

stop() {
	start-stop-daemon --stop --oknodo --retry TERM/45/KILL/5 --pidfile "$pidfile" --exec "$program" >/dev/null || return 1
	rm -f "$pidfile"
}

case "$1" in
	start) start ;;
	stop) stop ;;
	restart|force-reload) stop && start ;;
	status)
		if running; then
			echo "Running"
		else
			echo "Stopped"
			exit 3
		fi
		;;
	*)
		echo "Usage: $0 {start|stop|restart|force-reload|status}" >&2
		exit 2
		;;
esac
