package control

import (
	"fmt"
	"net"
	"os"
	"os/user"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// identify asks the system who is at the other end, and lets in root and the
// service's own user. The mode of the socket says the same; this holds also where
// someone has changed it.
func identify(c *net.UnixConn) (who string, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return "", err
	}
	var peer *unix.Ucred
	var failed error
	if err := raw.Control(func(fd uintptr) {
		peer, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return "", err
	}
	if failed != nil {
		return "", fmt.Errorf("ask who calls: %w", failed)
	}
	who = name(peer.Uid)
	if !allowed(peer.Uid, os.Geteuid()) {
		return "", fmt.Errorf("%w: %s", ErrDenied, who)
	}
	// Behind sudo stands a person.
	if login, ok := loginOf(peer.Pid); ok && login != peer.Uid {
		who += ", logged in as " + name(login)
	}
	return who, nil
}

func allowed(caller uint32, self int) bool { return caller == 0 || int(caller) == self }

func name(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username + " (uid " + id + ")"
	}
	return "uid " + id
}

// loginOf is the user who logged in, as the system has kept it since.
func loginOf(pid int32) (uid uint32, ok bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/loginuid", pid))
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 32)
	const nobody = 1<<32 - 1
	return uint32(n), err == nil && n != nobody
}
