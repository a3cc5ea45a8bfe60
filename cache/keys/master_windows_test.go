package keys

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/windows"
)

func TestMasterIsProtectedByDPAPI(t *testing.T) {
	h := newHome(t)
	sealed := seal(t, h.open(), "plain", "row")
	body := read(t, h.master)
	if _, err := parseMaster("", body); err == nil {
		t.Error("the master key lies unprotected")
	}
	wantOpens(t, h.open(), sealed, "row", "plain")

	body[len(body)/2] ^= 1
	must(t, writeAside(h.master, body))
	h.wantRefused(ErrMasterWrong)
}

func TestMasterThatEverybodyCanReadIsRefused(t *testing.T) {
	h := newHome(t)
	h.open()
	sd, err := windows.SecurityDescriptorFromString("D:P(A;;FA;;;SY)(A;;FR;;;BU)(A;;FA;;;OW)")
	must(t, err)
	acl, _, err := sd.DACL()
	must(t, err)
	must(t, windows.SetNamedSecurityInfo(h.master, windows.SE_FILE_OBJECT, windows.DACL_SECURITY_INFORMATION, nil, nil, acl, nil))
	h.wantRefused(ErrMasterExposed)
}

func TestShredOnWindows(t *testing.T) {
	h := newHome(t)
	r := h.open()
	master := read(t, h.master)
	must(t, r.Destroy())
	if _, err := os.Stat(h.master); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("master key is left: %v", err)
	}
	h.open()
	if bytes.Equal(master, read(t, h.master)) {
		t.Error("the same master key again")
	}
}
