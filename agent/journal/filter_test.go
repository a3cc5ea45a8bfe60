package journal

import (
	"math/rand/v2"
	"testing"
)

func TestFilterNeverDeniesWhatItHas(t *testing.T) {
	f := new(filter)
	if !f.mayHave(1) {
		t.Error("a filter that is not whole denies")
	}
	f.whole.Store(true)
	random := rand.New(rand.NewPCG(1, 2))
	const keys = 300_000
	has := map[origin]bool{0: true, -1: true, -1 << 63: true, 1<<63 - 1: true}
	for range keys {
		has[origin(random.Uint64())] = true
	}
	for k := range has {
		f.add(k)
	}
	for k := range has {
		if !f.mayHave(k) {
			t.Fatalf("%x was added and is denied", uint64(k))
		}
	}
	const tries = 100_000
	wrong := 0
	for range tries {
		if k := origin(random.Uint64()); !has[k] && f.mayHave(k) {
			wrong++
		}
	}
	if wrong > tries/100 {
		t.Errorf("%d of %d keys that it has not are looked up for nothing, want 1 in 200", wrong, tries)
	}
}
