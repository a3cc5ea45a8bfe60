package installer

import (
	"crypto/sha1" //nolint:gosec // the service's SID is made with it
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf16"
	"unsafe"

	"github.com/kardianos/service"
	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/svc/eventlog"
	"golang.org/x/sys/windows/svc/mgr"
)

const needsAdministrator = "run it in a command prompt opened with Run as administrator"

// managed is the service's name with its manager.
func (s Service) managed() string { return s.WindowsName }

func (s Service) configFolder() string {
	// Not the environment's word: a service's may be of another time or place.
	folder, err := windows.KnownFolderPath(windows.FOLDERID_ProgramData, 0)
	if err != nil {
		folder = `C:\ProgramData`
	}
	return filepath.Join(folder, "Safeguard", strings.TrimPrefix(s.WindowsName, "Safeguard"))
}

func (s Service) stateFolder() string { return filepath.Join(s.configFolder(), "state") }

// kept are the folders that a purge removes.
func (s Service) kept() []string { return []string{s.configFolder()} }

func exists(pid int) bool {
	h, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION, false, uint32(pid))
	if err != nil {
		return errors.Is(err, windows.ERROR_ACCESS_DENIED)
	}
	defer func() { _ = windows.CloseHandle(h) }()
	var code uint32
	const stillActive = 259
	return windows.GetExitCodeProcess(h, &code) == nil && code == stillActive
}

func whereLogged(s Service) string {
	return "the Event Log: Windows Logs, Application, source " + s.WindowsName
}

func (s Service) manager() service.Service { return s.manage("", "") }

func (s Service) manage(program, config string) service.Service {
	// New fails only for a service without a name.
	m, err := service.New(nil, &service.Config{
		Name: s.WindowsName, DisplayName: s.DisplayName, Description: s.Description, Executable: program,
		Arguments: []string{"run", "--service", "--config", config}, UserName: s.virtualAccount(),
	})
	if err != nil {
		panic(err)
	}
	return m
}

// registered tells what the manager says of the service, or
// service.ErrNotInstalled.
func (s Service) registered() (service.Status, error) { return s.manager().Status() }

// begin starts the service. The manager's database may be locked for a moment,
// by an installer that is about to end, or by another service that starts.
func (s Service) begin() error {
	err := s.manager().Start()
	for deadline := time.Now().Add(15 * time.Second); errors.Is(err, windows.ERROR_SERVICE_DATABASE_LOCKED) && time.Now().Before(deadline); {
		time.Sleep(200 * time.Millisecond)
		err = s.manager().Start()
	}
	return err
}

// virtualAccount has no password, no rights but those granted to it, and on the
// network is nobody.
func (s Service) virtualAccount() string { return `NT SERVICE\` + s.WindowsName }

// install registers the service, or renews one that is registered: by a former
// version, or by an installer that leaves the rest to this.
func (s Service) install(config string) error {
	program, err := executable()
	if err != nil {
		return err
	}
	if err := s.prepare(); err != nil {
		return err
	}
	m, err := mgr.Connect()
	if err != nil {
		return err
	}
	defer func() { _ = m.Disconnect() }()
	registered, err := m.OpenService(s.WindowsName)
	if errors.Is(err, windows.ERROR_SERVICE_DOES_NOT_EXIST) {
		if err := s.manage(program, config).Install(); err != nil {
			return err
		}
		registered, err = m.OpenService(s.WindowsName)
	}
	if err != nil {
		return err
	}
	defer func() { _ = registered.Close() }()
	return s.configure(registered, program, config)
}

// uninstall also forgets the event source.
func (s Service) uninstall() error { return s.manager().Uninstall() }

// configure sets what the library does not.
func (s Service) configure(registered *mgr.Service, program, config string) error {
	command := windows.ComposeCommandLine([]string{program, "run", "--service", "--config", config})
	text := make([]*uint16, 3)
	var err error
	for i, t := range []string{command, s.virtualAccount(), s.DisplayName} {
		if text[i], err = windows.UTF16PtrFromString(t); err != nil {
			return err
		}
	}
	if err := windows.ChangeServiceConfig(registered.Handle, windows.SERVICE_WIN32_OWN_PROCESS, windows.SERVICE_AUTO_START,
		windows.SERVICE_ERROR_NORMAL, text[0], nil, nil, nil, text[1], nil, text[2]); err != nil {
		return fmt.Errorf("configure service: %w", err)
	}
	if err := registered.SetRecoveryActions(recovery, uint32((24 * time.Hour).Seconds())); err != nil {
		return fmt.Errorf("set recovery: %w", err)
	}
	if err := eventlog.InstallAsEventCreate(s.WindowsName, eventlog.Error|eventlog.Warning|eventlog.Info); err != nil && !strings.Contains(err.Error(), "exists") {
		return fmt.Errorf("register event source: %w", err)
	}
	return s.detail(registered)
}

// recovery restarts the service each time, and not so fast that it takes the
// machine with it. The last holds for all further failures; after a day without
// one it begins again.
var recovery = []mgr.RecoveryAction{
	{Type: mgr.ServiceRestart, Delay: 10 * time.Second},
	{Type: mgr.ServiceRestart, Delay: 30 * time.Second},
	{Type: mgr.ServiceRestart, Delay: 2 * time.Minute},
}

// detail sets what only later systems know of. One that does not (wine) runs the
// service without.
func (s Service) detail(registered *mgr.Service) error {
	description, err := windows.UTF16PtrFromString(s.Description)
	if err != nil {
		return err
	}
	// The one privilege without which no path can be opened.
	privileges := utf16.Encode([]rune("SeChangeNotifyPrivilege\x00\x00"))
	delayed := windows.SERVICE_DELAYED_AUTO_START_INFO{IsDelayedAutoStartUp: 1}
	sid := uint32(windows.SERVICE_SID_TYPE_UNRESTRICTED)
	onExit := struct{ failed int32 }{1} // exit codes count as failures too
	shutdown := struct{ milliseconds uint32 }{60_000}
	for _, d := range []struct {
		what  string
		level uint32
		info  unsafe.Pointer
	}{
		{"description", windows.SERVICE_CONFIG_DESCRIPTION, unsafe.Pointer(&windows.SERVICE_DESCRIPTION{Description: description})},
		{"delayed start", windows.SERVICE_CONFIG_DELAYED_AUTO_START_INFO, unsafe.Pointer(&delayed)},
		{"service SID", windows.SERVICE_CONFIG_SERVICE_SID_INFO, unsafe.Pointer(&sid)},
		{"privileges", windows.SERVICE_CONFIG_REQUIRED_PRIVILEGES_INFO, unsafe.Pointer(&struct{ names *uint16 }{&privileges[0]})},
		{"recovery after an exit code", windows.SERVICE_CONFIG_FAILURE_ACTIONS_FLAG, unsafe.Pointer(&onExit)},
		{"time to stop at shutdown", windows.SERVICE_CONFIG_PRESHUTDOWN_INFO, unsafe.Pointer(&shutdown)},
	} {
		if err := windows.ChangeServiceConfig2(registered.Handle, d.level, (*byte)(d.info)); err != nil && !errors.Is(err, windows.ERROR_INVALID_LEVEL) {
			return fmt.Errorf("set %s: %w", d.what, err)
		}
	}
	return nil
}

// prepare makes the folders and sets who may do what in them: the system and the
// administrators all, the service read its configuration and write what it
// keeps, and nobody else anything.
func (s Service) prepare() error {
	root := s.configFolder()
	const full, read, modify = "FA", "0x1200a9", "0x1301bf" // file access rights: all; read and execute; modify
	for _, f := range []struct{ path, rights string }{
		{root, read},
		{filepath.Join(root, "certificates"), modify},
		{filepath.Join(root, "data"), modify},
		{filepath.Join(root, "keys"), modify},
		{filepath.Join(root, "state"), modify},
	} {
		if err := os.MkdirAll(f.path, 0o700); err != nil {
			return err
		}
		sddl := fmt.Sprintf("D:P(A;OICI;%s;;;SY)(A;OICI;%s;;;BA)(A;OICI;%s;;;%s)", full, full, f.rights, s.sid())
		if err := restrict(f.path, sddl); err != nil {
			return fmt.Errorf("restrict access to %s: %w", f.path, err)
		}
	}
	return nil
}

// ownedAsFolder has nothing to do: who may do what with a file is inherited.
func ownedAsFolder(string) error { return nil }

func restrict(path, sddl string) error {
	sd, err := windows.SecurityDescriptorFromString(sddl)
	if err != nil {
		return err
	}
	acl, _, err := sd.DACL()
	if err != nil {
		return err
	}
	const what = windows.DACL_SECURITY_INFORMATION | windows.PROTECTED_DACL_SECURITY_INFORMATION
	return windows.SetNamedSecurityInfo(path, windows.SE_FILE_OBJECT, what, nil, nil, acl, nil)
}

// sid is the service's own, which is computed from its name: S-1-5-80 and the
// SHA-1 of the name in upper case UTF-16 ([MS-DTYP] 2.4.2.4, NT_SERVICE). So
// folders can be prepared before the service is registered.
func (s Service) sid() string {
	var name []byte
	for _, c := range utf16.Encode([]rune(strings.ToUpper(s.WindowsName))) {
		name = binary.LittleEndian.AppendUint16(name, c)
	}
	sum := sha1.Sum(name)
	sid := "S-1-5-80"
	for i := 0; i < len(sum); i += 4 {
		sid += fmt.Sprintf("-%d", binary.LittleEndian.Uint32(sum[i:]))
	}
	return sid
}
