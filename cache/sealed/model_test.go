package sealed

import (
	"errors"
	"maps"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The store is a map whose values expire, whatever order things come in, and
// however often it is closed.
func TestStoreIsAMap(t *testing.T) {
	type held struct {
		value   string
		expires time.Time
	}
	h := newHome(t)
	ring := h.keys(t)
	s := h.store(t)
	defer func() { _ = s.Close() }()
	rapid.Check(t, func(t *rapid.T) {
		model, now := make(map[int]held), start
		if _, err := s.Expire(start.Add(1e6 * time.Hour)); err != nil || s.Len() != 0 {
			t.Fatal(err)
		}
		which := rapid.IntRange(0, 20)
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				k := which.Draw(t, "key")
				v := held{rapid.StringN(0, 50, 200).Draw(t, "value"), now.Add(time.Duration(rapid.IntRange(0, 100).Draw(t, "ttl")) * time.Second)}
				if err := s.Put(key(k), []byte(v.value), now, v.expires); err != nil {
					t.Fatal(err)
				}
				model[k] = v
			},
			"delete": func(t *rapid.T) {
				a, b := which.Draw(t, "key"), which.Draw(t, "key")
				if err := s.Delete(key(a), key(b)); err != nil {
					t.Fatal(err)
				}
				delete(model, a)
				delete(model, b)
			},
			"wait": func(t *rapid.T) { now = now.Add(time.Duration(rapid.IntRange(0, 50).Draw(t, "seconds")) * time.Second) },
			"expire": func(t *rapid.T) {
				if _, err := s.Expire(now); err != nil {
					t.Fatal(err)
				}
				maps.DeleteFunc(model, func(_ int, v held) bool { return !now.Before(v.expires) })
				if s.Len() != len(model) {
					t.Fatalf("%d values, want %d", s.Len(), len(model))
				}
			},
			"checkpoint": func(t *rapid.T) {
				if err := s.Checkpoint(); err != nil {
					t.Fatal(err)
				}
			},
			"verify": func(t *rapid.T) {
				if err := s.Verify(t.Context()); err != nil {
					t.Fatal(err)
				}
			},
			"reopen": func(t *rapid.T) {
				if rapid.IntRange(0, 9).Draw(t, "seldom, for it is slow") > 0 {
					t.Skip()
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				var err error
				if s, err = Open(h.dir(), ring, Options{Log: quiet}); err != nil || s.BeganAnew() != "" {
					t.Fatalf("Open = %v, began anew for %q", err, s.BeganAnew())
				}
			},
			"": func(t *rapid.T) {
				for k := range 21 {
					want, is := model[k]
					is = is && now.Before(want.expires)
					got, err := s.Get(key(k), now)
					if is && (err != nil || string(got) != want.value) || !is && !errors.Is(err, ErrNotFound) {
						t.Fatalf("Get(%d) = %q, %v, want %q, %v", k, got, err, want.value, is)
					}
				}
			},
		})
	})
}
