package main

import (
	"os"

	"golang.org/x/sys/windows"
)

// drawable has the console take control sequences (ECMA-48), which ones before
// Windows 10 do not.
func drawable(f *os.File) bool {
	console := windows.Handle(f.Fd())
	var mode uint32
	if windows.GetConsoleMode(console, &mode) != nil {
		return false
	}
	return windows.SetConsoleMode(console, mode|windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING) == nil
}
