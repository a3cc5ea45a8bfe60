//go:build !windows

package main

import "os"

// drawable tells whether the terminal takes control sequences (ECMA-48).
func drawable(*os.File) bool { return true }
