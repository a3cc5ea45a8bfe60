// Package docs has the documentation in the program, for where there is no way to
// the network.
package docs

import "embed"

// Files are the pages, by their names in this folder.
//
//go:embed *.md hl7/*.md
var Files embed.FS
