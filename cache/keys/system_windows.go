package keys

import (
	"errors"
	"fmt"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

// ownersOnly is an access list, not inherited from the folder, of the system,
// the administrators and the file's owner.
const ownersOnly = "D:P(A;;FA;;;SY)(A;;FA;;;BA)(A;;FA;;;OW)"

// restrict gives a new file its access list before a secret is written to it.
func restrict(path string) error {
	sd, err := windows.SecurityDescriptorFromString(ownersOnly)
	if err != nil {
		return err
	}
	acl, _, err := sd.DACL()
	if err != nil {
		return err
	}
	const what = windows.DACL_SECURITY_INFORMATION | windows.PROTECTED_DACL_SECURITY_INFORMATION
	if err := windows.SetNamedSecurityInfo(path, windows.SE_FILE_OBJECT, what, nil, nil, acl, nil); err != nil {
		return fmt.Errorf("restrict access to %s: %w", path, err)
	}
	return nil
}

// everybody are the groups that must not be let in.
var everybody = []windows.WELL_KNOWN_SID_TYPE{
	windows.WinWorldSid, windows.WinAuthenticatedUserSid, windows.WinBuiltinUsersSid, windows.WinBuiltinGuestsSid,
	windows.WinInteractiveSid, windows.WinNetworkSid, windows.WinAnonymousSid,
}

// checkAccess refuses a file that everybody is let in to.
func checkAccess(path string) error {
	sd, err := windows.GetNamedSecurityInfo(path, windows.SE_FILE_OBJECT, windows.DACL_SECURITY_INFORMATION)
	if err != nil {
		return err
	}
	acl, _, err := sd.DACL()
	if errors.Is(err, windows.ERROR_OBJECT_NOT_FOUND) || err == nil && acl == nil {
		return exposed(path)
	}
	if err != nil {
		return err
	}
	for i := range uint32(acl.AceCount) {
		var ace *windows.ACCESS_ALLOWED_ACE
		if err := windows.GetAce(acl, i, &ace); err != nil {
			return err
		}
		if ace.Header.AceType != windows.ACCESS_ALLOWED_ACE_TYPE {
			continue
		}
		sid := (*windows.SID)(unsafe.Pointer(&ace.SidStart))
		for _, group := range everybody {
			if sid.IsWellKnown(group) {
				return exposed(path)
			}
		}
	}
	return nil
}

func exposed(path string) error {
	return fmt.Errorf("%w: the access list of %s lets everybody in: leave SYSTEM, Administrators and the service's user only, and rewrap", ErrMasterExposed, path)
}

// rename tries again for a moment: a virus scanner may have the new file open.
func rename(from, to string) (err error) {
	for range 50 {
		if err = os.Rename(from, to); !errors.Is(err, windows.ERROR_ACCESS_DENIED) && !errors.Is(err, windows.ERROR_SHARING_VIOLATION) {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
	return err
}

// syncDir has nothing to do: NTFS journals a rename.
func syncDir(string) error { return nil }

func tryLock(f *os.File) error {
	const how = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	return windows.LockFileEx(windows.Handle(f.Fd()), how, 0, 1, 0, new(windows.Overlapped))
}
