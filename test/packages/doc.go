// Package packages tests what is handed out: the deb is installed, upgraded, run,
// removed and purged in a root of its own over this machine's, the MSI under wine;
// the rpm, the zips and the bills of materials are read. It needs root and
// what "make deps" installs, and takes minutes: make packages-test runs it.
package packages
