package upload

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strconv"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/store"
)

// packed is a change in few bytes: an upload is held until all of it is there.
type packed struct {
	number           uint64
	born, start, end day32
	row              uint32 // its verdict
	plan             uint8
	ambiguous        uint8 // 1 and the column whose date could be month/day, or 0
	withdraw         bool
}

// day32 is a date as a number; 0 is none.
type day32 uint32

func packDay(d safeguard.Date) day32 {
	return day32(d.Year)<<9 | day32(d.Month)<<5 | day32(d.Day)
}

func (d day32) date() safeguard.Date {
	return safeguard.Date{Year: int(d >> 9), Month: time.Month(d >> 5 & 15), Day: int(d & 31)}
}

func pack(c store.Change, row int, ambiguous string) packed {
	number, _ := strconv.ParseUint(c.Number.Reveal(), 10, 64) // of a valid number
	f := c.Flag
	return packed{
		number: number, born: packDay(f.Born.Reveal()), start: packDay(f.Start), end: packDay(f.End),
		row: uint32(row), plan: uint8(f.Plan), ambiguous: uint8(1 + slices.Index(columns, ambiguous)), withdraw: c.Withdraw,
	}
}

func (p packed) person() safeguard.NHSNumber {
	n, _ := safeguard.ParseNHSNumber(fmt.Sprintf("%010d", p.number)) // it was valid when it was packed
	return n
}

func (p packed) change() store.Change {
	return store.Change{Number: p.person(), Withdraw: p.withdraw, Flag: store.Flag{
		Plan: safeguard.Plan(p.plan), Start: p.start.date(), End: p.end.date(), Born: safeguard.Hide(p.born.date()),
	}}
}

// verdicts are those on the rows, in few bytes: most say one of few things.
type verdicts struct {
	rows  []rowVerdict
	index map[Verdict]uint32 // those that there are, without the line
	list  []Verdict
}

type rowVerdict struct {
	line int
	what uint32
}

func (v *verdicts) number(verdict Verdict) uint32 {
	verdict.Line = 0
	n, ok := v.index[verdict]
	if !ok {
		n = uint32(len(v.list))
		v.index[verdict], v.list = n, append(v.list, verdict)
	}
	return n
}

func (v *verdicts) add(verdict Verdict) {
	v.rows = append(v.rows, rowVerdict{verdict.Line, v.number(verdict)})
}

func (v *verdicts) set(row int, verdict Verdict) { v.rows[row].what = v.number(verdict) }

// noted counts the good rows that were not written as documented.
func (v *verdicts) noted() int {
	return count(v.rows, func(r rowVerdict) bool { return v.list[r.what].Code == Loaded && v.list[r.what].Sentence != "" })
}

// kept is the first line of what is kept.
type keptNotices struct {
	Notices []string `json:"notices"`
}

// pack writes what is to be kept of an upload: JSON lines, compressed. First the
// notices, then the verdicts as they are before anything is applied.
func (v *verdicts) pack(notices []string) ([]byte, error) {
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, gzip.BestSpeed) // a level that there is
	e := json.NewEncoder(z)
	if err := e.Encode(keptNotices{notices}); err != nil {
		return nil, fmt.Errorf("keep verdicts: %w", err)
	}
	for _, r := range v.rows {
		verdict := v.list[r.what]
		verdict.Line = r.line
		if err := e.Encode(verdict); err != nil {
			return nil, fmt.Errorf("keep verdicts: %w", err)
		}
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("keep verdicts: %w", err)
	}
	return b.Bytes(), nil
}

// unpack gives what was kept of an upload, with what its changes did.
func unpack(k store.Kept) (notices []string, each iter.Seq2[Verdict, error], err error) {
	if len(k.Verdicts) == 0 {
		return []string{"the verdicts on the rows are not kept any more"}, func(func(Verdict, error) bool) {}, nil
	}
	_, notices, err = openKept(k)
	return notices, func(yield func(Verdict, error) bool) {
		d, _, err := openKept(k)
		good := 0
		for err == nil {
			var v Verdict
			if err = d.Decode(&v); errors.Is(err, io.EOF) {
				return
			} else if err != nil {
				break
			}
			if v.Code == Loaded {
				effect := store.NoEffect
				if good < len(k.Effects) {
					effect = k.Effects[good]
				}
				good++
				v = said(v, k, effect)
			}
			if !yield(v, nil) {
				return
			}
		}
		yield(Verdict{}, fmt.Errorf("read kept verdicts: %w", err))
	}, err
}

func openKept(k store.Kept) (*json.Decoder, []string, error) {
	z, err := gzip.NewReader(bytes.NewReader(k.Verdicts))
	if err != nil {
		return nil, nil, err
	}
	d := json.NewDecoder(z)
	var first keptNotices
	err = d.Decode(&first)
	return d, first.Notices, err
}
