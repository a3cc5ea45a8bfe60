//go:build !windows

package installer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/kardianos/service"
)

const needsAdministrator = "run it as root"

func (s Service) underManager(ctx context.Context, _ *slog.Logger, run func(context.Context) error) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	return run(ctx)
}

// managed is the service's name with its manager.
func (s Service) managed() string { return s.Name }

func (s Service) configFolder() string { return filepath.Join("/etc", s.Name) }

// data is the folder that the units call StateDirectory.
func (s Service) data() string { return filepath.Join("/var/lib", s.Name) }

func (s Service) stateFolder() string {
	if folder := os.Getenv("RUNTIME_DIRECTORY"); folder != "" {
		return folder
	}
	return filepath.Join("/run", s.Name)
}

// kept are the folders that a purge removes.
func (s Service) kept() []string { return []string{s.configFolder(), s.data()} }

func exists(pid int) bool {
	err := syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}

func whereLogged(s Service) string {
	if systemd() {
		return "journalctl -u " + s.Name
	}
	return "/var/log/" + s.Name + ".log"
}

// systemd tells whether it manages this system (sd_booted(3)).
func systemd() bool {
	_, err := os.Stat("/run/systemd/system")
	return err == nil
}

// manager drives systemctl, or the init script where systemd is not.
func (s Service) manager() service.Service { return s.manage("", nil) }

func (s Service) manage(script string, options service.KeyValue) service.Service {
	if options == nil {
		options = service.KeyValue{}
	}
	options["SystemdScript"], options["SysvScript"] = script, script
	// New fails only for a service without a name.
	m, err := service.New(nil, &service.Config{Name: s.Name, DisplayName: s.DisplayName, Description: s.Description, Option: options})
	if err != nil {
		panic(err)
	}
	return m
}

// packaged are where a package of the system puts the unit and the init script.
func (s Service) packaged() []string {
	return []string{"/usr/lib/systemd/system/" + s.Name + ".service", "/lib/systemd/system/" + s.Name + ".service"}
}

// registered tells what the manager says of the service, or
// service.ErrNotInstalled, which the library does not tell of an init script.
func (s Service) registered() (service.Status, error) {
	for _, path := range append(s.packaged(), "/etc/systemd/system/"+s.Name+".service", "/etc/init.d/"+s.Name) {
		if _, err := os.Stat(path); err == nil {
			return s.manager().Status()
		}
	}
	return service.StatusUnknown, service.ErrNotInstalled
}

func (s Service) begin() error { return s.manager().Start() }

func (s Service) install(config string) error {
	for _, unit := range s.packaged() {
		if _, err := os.Stat(unit); err == nil {
			return fmt.Errorf("the package has done it: %s: there is one service, so use that, or remove the package first", unit)
		}
	}
	program, err := executable()
	if err != nil {
		return err
	}
	for _, hidden := range []string{"/home/", "/root/", "/run/user/", "/tmp/", "/var/tmp/"} {
		if systemd() && strings.HasPrefix(program, hidden) {
			return fmt.Errorf("the service is not let into %s, where this program is: put it into /usr/local/bin first", hidden)
		}
	}
	script, err := s.script(!systemd(), program, config)
	if err != nil {
		return err
	}
	if err := s.prepare(); err != nil {
		return err
	}
	if _, err := s.registered(); !errors.Is(err, service.ErrNotInstalled) {
		// It is renewed: what runs goes on, until it is restarted.
		if err := s.unregister(); err != nil {
			return err
		}
	}
	return s.manage(script, nil).Install()
}

func (s Service) uninstall() error {
	for _, unit := range s.packaged() {
		if _, err := os.Stat(unit); err == nil {
			return fmt.Errorf("it belongs to a package: remove that: %s", unit)
		}
	}
	return s.unregister()
}

// unregister also removes the links to an init script, which the library leaves.
func (s Service) unregister() error {
	if err := s.manager().Uninstall(); err != nil {
		return err
	}
	links, err := filepath.Glob("/etc/rc[0-6].d/[SK][0-9][0-9]" + s.Name)
	for _, link := range links {
		err = errors.Join(err, os.Remove(link))
	}
	return err
}

// prepare makes the account, and the folders as the unit wants them. The
// configuration's folder is root's, and the service may add to it (its master
// key, its certificates) but, by the sticky bit, not change what is root's.
func (s Service) prepare() error {
	account, err := s.account()
	if err != nil {
		return err
	}
	uid, _ := strconv.Atoi(account.Uid)
	gid, _ := strconv.Atoi(account.Gid)
	for _, f := range []struct {
		path string
		uid  int
		mode os.FileMode
	}{
		{s.configFolder(), 0, 0o770 | os.ModeSticky},
		{filepath.Join(s.configFolder(), "certificates"), uid, 0o750},
		{s.data(), uid, 0o700},
	} {
		if err := os.MkdirAll(f.path, 0o700); err != nil {
			return err
		}
		if err := errors.Join(os.Chown(f.path, f.uid, gid), os.Chmod(f.path, f.mode)); err != nil {
			return err
		}
	}
	// An administrator who wrote the configuration may have left it to root alone,
	// or to everybody.
	config := s.DefaultConfig()
	if _, err := os.Lstat(config); err == nil {
		return errors.Join(os.Lchown(config, 0, gid), os.Chmod(config, 0o640))
	}
	return nil
}

// ownedAsFolder gives a file to whom its folder belongs.
func ownedAsFolder(path string) error {
	info, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return err
	}
	owner := info.Sys().(*syscall.Stat_t)
	return os.Chown(path, int(owner.Uid), int(owner.Gid))
}

// account is the service's own, made when there is none.
func (s Service) account() (*user.User, error) {
	if account, err := user.Lookup(s.Name); err == nil {
		return account, nil
	}
	out, err := exec.Command("useradd", "--system", "--user-group", "--no-create-home", "--home-dir", s.data(),
		"--shell", "/usr/sbin/nologin", "--comment", s.DisplayName, s.Name).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("make account %s: %w: %s", s.Name, err, oneLine(string(out)))
	}
	return user.Lookup(s.Name)
}
