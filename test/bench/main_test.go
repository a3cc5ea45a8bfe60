package main

import "testing"

func TestPairSetsEachBesideItsFloor(t *testing.T) {
	samples := map[string][]float64{
		"Listener/bare/connections=1\tmsg/s":      {100, 300, 200},
		"Listener/bare/connections=1\tns/op":      {1},
		"Listener/safeguard/connections=1\tmsg/s": {150, 90, 100},
		"Listener/safeguard/connections=1\tns/op": {2},
		"Parse\tns/op":     {400},
		"Parse\tallocs/op": {0},
	}
	order := []string{"Listener/bare/connections=1\tmsg/s", "Listener/safeguard/connections=1\tmsg/s", "Listener/safeguard/connections=1\tns/op", "Parse\tns/op", "Parse\tallocs/op"}
	got := pair(order, samples)
	if len(got) != 3 {
		t.Fatalf("%d measures, want 3: %+v", len(got), got)
	}
	if want := (Measure{Name: "Listener/safeguard/connections=1", Value: 100, Unit: "msg/s", Floor: 200, Ratio: 0.5}); got[0] != want {
		t.Errorf("got %+v, want %+v", got[0], want)
	}
	if got[1].Floor != 0 || got[1].Value != 400 || got[2].Unit != "allocs/op" {
		t.Errorf("got %+v", got[1:])
	}
}

func TestPairSetsOneBesideFloorsOfItsOwn(t *testing.T) {
	const name = "central/server: Refresh/sqlite/callers=16"
	samples := map[string][]float64{
		name + "\tns/op":               {0},
		name + "\tlookups/s":           {500},
		name + "\tlookups/s:echo":      {1000},
		name + "\tlookups/s:echo:low":  {0.4},
		name + "\tlookups/s:echo:high": {0.6},
	}
	got := pair([]string{name + "\tns/op", name + "\tlookups/s", name + "\tlookups/s:echo", name + "\tlookups/s:echo:high", name + "\tlookups/s:echo:low"}, samples)
	if len(got) != 2 || got[0].Value != 500 || got[0].Target != nil {
		t.Fatalf("measures %+v, want the rate, and the rate beside the echo", got)
	}
	m := got[1]
	if m.Beside != "echo" || m.Floor != 1000 || m.Ratio != 0.5 || m.Low != 0.4 || m.High != 0.6 || m.Target == nil || *m.Target != 0.4 {
		t.Errorf("got %+v", m)
	}
}
