// Bench runs the module's benchmarks, sets each beside its floor of the same run,
// prints a table and writes bench.json.
//
// A benchmark .../bare/... is the floor of the one named .../safeguard/...: what
// the machine can do at most. One that has its floors measured in turn with itself
// (test/interleave) gives them as units of their own. Only the ratio of the two
// says something on a machine that is not this one.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// Measure is one line of the table, and one element of bench.json.
type Measure struct {
	Name   string   `json:"name"`
	Value  float64  `json:"value"`
	Unit   string   `json:"unit"`
	Floor  float64  `json:"floor,omitempty"`
	Beside string   `json:"beside,omitempty"` // which floor, where there are several
	Ratio  float64  `json:"ratio,omitempty"`  // of value to floor
	Low    float64  `json:"low,omitempty"`    // quartiles of the ratio over a run's slices
	High   float64  `json:"high,omitempty"`
	Target *float64 `json:"target,omitempty"` // for the ratio where there is a floor, else for the value
}

// targets are what is to be reached, by a measure's name, or its beginning up to a slash.
var targets = []struct {
	name   string
	unit   string
	target float64
}{
	{"test/e2e: Idle", "MB", 64},                         // with 20,000 answers kept
	{"test/e2e: Fleet/agents=1500", "MB", 400},           // of the centre
	{"test/e2e: Fleet/agents=1500", "s-to-warning", 150}, // from an agent's death; its grace is 120
	{"hl7adapter/hl7: ReadAttendance/", "allocs/op", 0},
	{"agent/journal: Intake/connections=1", "msg/s:append+fdatasync", 0.45},
	{"agent/journal: Intake/connections=16", "msg/s:group-commit", 0.4},
	{"test/e2e: Backlog/waiting=200000", "ms-to-feeds", 1000},
	{"hl7adapter/hl7: ReadAttendance/", "ns/op", 2},        // times a look at each byte
	{"hl7adapter/mllp: ListenerThroughput/", "msg/s", 0.7}, // of a listener that answers at once and keeps nothing
	{"hl7adapter/epr: Deliver/mllp", "msg/s:bare", 0.6},    // of a client that sends a ready message
	{"central/server: Refresh/sqlite/callers=16", "lookups/s:echo", 0.4},
	{"central/server: Refresh/postgres/callers=16", "lookups/s:select", 0.4},
}

func main() {
	only := flag.String("only", ".", "run the benchmarks whose name matches this regular expression")
	count := flag.Int("count", 3, "how often each is run; the median counts")
	out := flag.String("out", "bench.json", "file to write")
	flag.Parse()
	measures, err := run(*only, *count)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	show(measures)
	text, err := json.MarshalIndent(measures, "", "  ")
	if err == nil {
		err = os.WriteFile(*out, append(text, '\n'), 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// line is a result as go test prints it, such as
//
//	BenchmarkReader/bytes=1024-2   1000   1234 ns/op   0 allocs/op
var line = regexp.MustCompile(`^Benchmark(\S+?)(?:-\d+)?\s+\d+\s+(.*)$`)

func run(only string, count int) ([]Measure, error) {
	cmd := exec.Command("go", "test", "-run", "^$", "-timeout", "60m", "-bench", only, "-count", strconv.Itoa(count), "./...")
	cmd.Stderr = os.Stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	terminal := isTerminal(os.Stderr)
	samples := map[string][]float64{} // by name and unit
	var order []string
	folder := ""
	for in := bufio.NewScanner(pipe); in.Scan(); {
		if pkg, ok := strings.CutPrefix(in.Text(), "pkg: "); ok {
			folder = strings.TrimPrefix(pkg, "github.com/safeguard-edge/safeguard/") + ": "
			continue
		}
		m := line.FindStringSubmatch(in.Text())
		if m == nil {
			if strings.HasPrefix(in.Text(), "FAIL") || strings.HasPrefix(in.Text(), "---") && !strings.HasPrefix(in.Text(), "--- SKIP") {
				fmt.Fprintln(os.Stderr, in.Text())
			}
			continue
		}
		if terminal {
			fmt.Fprintf(os.Stderr, "\r\033[K%s", m[1])
		}
		values := strings.Fields(m[2])
		for i := 0; i+1 < len(values); i += 2 {
			v, err := strconv.ParseFloat(values[i], 64)
			if err != nil {
				return nil, fmt.Errorf("read %q: %w", in.Text(), err)
			}
			key := folder + m[1] + "\t" + values[i+1]
			if samples[key] == nil {
				order = append(order, key)
			}
			samples[key] = append(samples[key], v)
		}
	}
	if terminal {
		fmt.Fprint(os.Stderr, "\r\033[K")
	}
	if err := cmd.Wait(); err != nil {
		return nil, fmt.Errorf("go test: %w", err)
	}
	return pair(order, samples), nil
}

// pair sets each measure beside its floors. Of a benchmark that gives a rate or a
// size, the time of one operation says the same or nothing, and is left out.
func pair(order []string, samples map[string][]float64) []Measure {
	var measures []Measure
	for _, key := range order {
		name, unit, _ := strings.Cut(key, "\t")
		if strings.Contains("/"+name+"/", "/bare/") || unit == "MB/s" || unit == "B/op" {
			continue
		}
		if unit == "ns/op" && (samples[name+"\tmsg/s"] != nil || samples[name+"\tMB"] != nil || samples[key][0] == 0) {
			continue
		}
		if _, beside, is := strings.Cut(unit, ":"); is {
			unit, _, _ = strings.Cut(unit, ":")
			if m, is := interleaved(samples, name, unit, beside); is {
				measures = append(measures, aimed(m))
			}
			continue
		}
		m := Measure{Name: name, Value: median(samples[key]), Unit: unit}
		if floor := samples[strings.Replace(name, "/safeguard", "/bare", 1)+"\t"+unit]; strings.Contains(name, "/safeguard") && floor != nil {
			if m.Floor = median(floor); m.Floor > 0 { // of nothing there is no ratio
				m.Ratio = m.Value / m.Floor
			}
		}
		measures = append(measures, aimed(m))
	}
	return measures
}

// interleaved is a measure beside a floor of its own benchmark; the quartiles of
// their ratio come as further units.
func interleaved(samples map[string][]float64, name, unit, beside string) (Measure, bool) {
	key := name + "\t" + unit
	low, high := samples[key+":"+beside+":low"], samples[key+":"+beside+":high"]
	if low == nil || high == nil {
		return Measure{}, false
	}
	m := Measure{Name: name, Value: median(samples[key]), Unit: unit, Beside: beside, Floor: median(samples[key+":"+beside]), Low: median(low), High: median(high)}
	m.Ratio = m.Value / m.Floor
	return m, true
}

func aimed(m Measure) Measure {
	unit := m.Unit
	if m.Beside != "" {
		unit += ":" + m.Beside
	}
	for _, t := range targets {
		if (m.Name == t.name || strings.HasSuffix(t.name, "/") && strings.HasPrefix(m.Name, t.name)) && unit == t.unit {
			m.Target = &t.target
		}
	}
	return m
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

func show(measures []Measure) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "measure\tvalue\tunit\tfloor\tbeside\tratio\tquartiles\ttarget")
	number := func(v float64) string {
		if v == 0 {
			return ""
		}
		return strconv.FormatFloat(v, 'g', 4, 64)
	}
	for _, m := range measures {
		target := ""
		if m.Target != nil {
			target = strconv.FormatFloat(*m.Target, 'g', 4, 64)
		}
		quartiles := ""
		if m.High != 0 {
			quartiles = fmt.Sprintf("%.2f to %.2f", m.Low, m.High)
		}
		fmt.Fprintf(w, "%s\t%.4g\t%s\t%s\t%s\t%s\t%s\t%s\n", m.Name, m.Value, m.Unit, number(m.Floor), m.Beside, number(m.Ratio), quartiles, target)
	}
	_ = w.Flush()
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
