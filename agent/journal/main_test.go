package journal_test

import (
	"os"
	"testing"
)

// children are what this test program does when it is run as another process.
var children = map[string]func(args []string){}

// childKey names the child to be, among the environment's variables.
const childKey = "SAFEGUARD_JOURNAL_TEST_CHILD"

func TestMain(m *testing.M) {
	if child := children[os.Getenv(childKey)]; child != nil {
		child(os.Args[1:])
		return
	}
	os.Exit(m.Run())
}
