package disk_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/safeguard-edge/safeguard/disk"
)

func TestAFileIsReplacedWholeAndNothingStaysBeside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "folder", "file")
	for _, content := range []string{"a long first content", "second"} {
		if err := disk.Replace(path, []byte(content)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != content {
			t.Errorf("got %q, %v, want %q", got, err, content)
		}
	}
	if there, err := os.ReadDir(filepath.Dir(path)); err != nil || len(there) != 1 {
		t.Errorf("%v are there, %v, want the file alone", there, err)
	}
}

func TestAFileThatCanNotBeReplacedStays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := disk.Replace(path, []byte("kept")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path+".new", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := disk.Replace(path, []byte("lost")); err == nil {
		t.Error("it was replaced by way of a folder")
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "kept" {
		t.Errorf("got %q, %v, want what was there", got, err)
	}
}
