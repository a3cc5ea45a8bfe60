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
