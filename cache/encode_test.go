package cache

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/safeguard-edge/safeguard"
)

func TestStoredAnswerReadsBackTheSame(t *testing.T) {
	date := rapid.Custom(func(t *rapid.T) safeguard.Date {
		if rapid.Bool().Draw(t, "none") {
			return safeguard.Date{}
		}
		return safeguard.DateOf(time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "day"), 0).UTC())
	})
	flag := rapid.Custom(func(t *rapid.T) safeguard.Flag {
		code, err := safeguard.ParseODSCode(rapid.StringMatching(`[A-Z0-9]{3,6}`).Draw(t, "code"))
		if err != nil {
			t.Fatal(err)
		}
		return safeguard.Flag{
			Plan:  safeguard.Plan(rapid.IntRange(1, 3).Draw(t, "plan")),
			Start: date.Draw(t, "start"), End: date.Draw(t, "end"),
			Authority: safeguard.Authority{
				Code: code, Name: rapid.String().Draw(t, "name"),
				EmergencyDutyPhone: rapid.String().Draw(t, "duty"), OfficeHoursPhone: rapid.String().Draw(t, "office"),
			},
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		k := kept{
			answer: safeguard.Answer{
				Status: safeguard.NoneHeld, Source: safeguard.FromCentre,
				AsOf: time.Unix(0, rapid.Int64Range(1, 4e18).Draw(t, "as of")).UTC(),
			},
			attended: time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "attended"), 0).UTC(),
		}
		if flags := rapid.SliceOf(flag).Draw(t, "flags"); len(flags) > 0 {
			k.answer.Status, k.answer.Flags = safeguard.Held, flags
			k.born = rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "born")
		}
		body, err := k.encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := decode(body)
		if err != nil {
			t.Fatal(err)
		}
		if got.answer.Status != k.answer.Status || !slices.Equal(got.answer.Flags, k.answer.Flags) ||
			!got.answer.AsOf.Equal(k.answer.AsOf) || got.answer.Source != safeguard.FromCache ||
			!got.attended.Equal(k.attended) || !slices.Equal(got.born, k.born) {
			t.Fatalf("got %+v, want %+v", got, k)
		}
	})
}

// Nothing that reads reads as none held by accident.
func FuzzDecode(f *testing.F) {
	for _, k := range []kept{{answer: held(then), attended: then}, {answer: none(then), attended: then, born: []byte("x")}} {
		body, err := k.encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
	f.Add([]byte(`{"v":1,"s":"none","f":[{}]}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		k, err := decode(body)
		if err != nil {
			return
		}
		if a := k.answer; a.Status == safeguard.Unknown || (a.Status == safeguard.Held) != (len(a.Flags) > 0) {
			t.Errorf("decode gives %v with %d flags", a.Status, len(a.Flags))
		}
		k.answer.Source = safeguard.FromCentre
		if _, err := k.encode(); err != nil && !k.answer.AsOf.IsZero() {
			t.Errorf("what was read is not written: %v", err)
		}
	})
}
