//go:build !windows

package dropfolder

import (
	"context"
	"syscall"
)

// pipes are what a name may stand for where a read never ends.
func pipes(path string) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"a pipe": func(context.Context) error { return syscall.Mkfifo(path, 0o600) },
	}
}
