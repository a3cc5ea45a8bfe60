// Report reads the events of go test -json, prints what a person wants to read of
// them, and at the end what was skipped and why. With --no-skips a skipped test
// fails the run.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"sort"
	"strings"
)

type event struct {
	Action, Package, Test, Output, ImportPath string
}

func main() {
	noSkips := flag.Bool("no-skips", false, "fail when a test was skipped")
	flag.Parse()
	passed, failed, skipped := 0, 0, map[string]string{}
	output := map[string][]string{} // by test, until it ends
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 16<<20)
	for in.Scan() {
		var e event
		if json.Unmarshal(in.Bytes(), &e) != nil {
			fmt.Println(in.Text())
			continue
		}
		key := e.Package + " " + e.Test
		switch e.Action {
		case "build-output":
			fmt.Print(e.Output)
		case "output":
			if e.Test == "" && !strings.HasPrefix(e.Output, "PASS") && !strings.Contains(e.Output, "no test files") {
				fmt.Print(e.Output)
			}
			output[key] = append(output[key], e.Output)
		case "pass":
			if e.Test != "" {
				passed++
			}
			delete(output, key)
		case "fail":
			failed++
			if e.Test != "" {
				fmt.Print(strings.Join(output[key], ""))
			}
			delete(output, key)
		case "skip":
			if e.Test != "" {
				skipped[key] = reason(output[key])
			}
			delete(output, key)
		}
	}
	if err := in.Err(); err != nil {
		fmt.Fprintln(os.Stderr, "read test events:", err)
		os.Exit(2)
	}
	keys := make([]string, 0, len(skipped))
	for key := range skipped {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	for _, key := range keys {
		fmt.Printf("skipped: %s: %s\n", key, skipped[key])
	}
	fmt.Printf("%d passed, %d failed, %d skipped\n", passed, failed, len(skipped))
	if failed > 0 || *noSkips && len(skipped) > 0 || passed == 0 {
		os.Exit(1)
	}
}

// reason is what the test said when it skipped.
func reason(lines []string) string {
	for _, line := range lines {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "=== ") && !strings.HasPrefix(line, "--- ") {
			return line
		}
	}
	return "no reason given"
}
