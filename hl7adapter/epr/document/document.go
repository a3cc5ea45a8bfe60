// Package document makes an alert's one-page PDF. It is the only door to the PDF
// library.
package document

import (
	"bytes"
	"fmt"
	"time"

	"codeberg.org/go-pdf/fpdf"
	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/text/encoding/charmap"
)

// Page is what the page says. What Western European letters can write is set in a
// font that every reader has; anything else in one that the file brings, with the
// letters of Latin, Greek and Cyrillic scripts.
type Page struct {
	Title string
	Facts [][2]string // name and value, such as whom it is about
	Lines []string
	Foot  string
	At    time.Time // written into the file, so that a repeat is the same to the byte
}

// The page's measures, in millimetres; font sizes in points.
const (
	margin   = 20
	titleTo  = 18
	largest  = 12
	smallest = 6
)

// PDF writes one page of A4. The more there is to say, the smaller it is written;
// what would not fit even so is an error, never cut off.
func (p Page) PDF() ([]byte, error) {
	for size := float64(largest); size >= smallest; size-- {
		out, fits, err := p.write(size)
		if err != nil {
			return nil, fmt.Errorf("write PDF: %w", err)
		}
		if fits {
			return out, nil
		}
	}
	return nil, fmt.Errorf("write PDF: %d lines do not fit on one page", len(p.Lines))
}

func (p Page) write(size float64) (out []byte, fits bool, err error) {
	pdf := fpdf.New("P", "mm", "A4", "")
	pdf.SetCreationDate(p.At.UTC())
	pdf.SetModificationDate(p.At.UTC())
	pdf.SetCatalogSort(true)
	pdf.SetProducer("Safeguard", true)
	pdf.SetTitle(p.Title, true)
	pdf.SetLang("en-GB")
	pdf.SetMargins(margin, margin, margin)
	pdf.SetAutoPageBreak(false, margin)
	font := "Helvetica"
	p, western := p.western()
	if !western {
		font = "go"
		pdf.AddUTF8FontFromBytes(font, "", goregular.TTF)
		pdf.AddUTF8FontFromBytes(font, "B", gobold.TTF)
	}
	pdf.AddPage()
	width, height := pdf.GetPageSize()
	pdf.SetFont(font, "B", min(titleTo, size*1.5))
	pdf.MultiCell(0, size*0.75, p.Title, "", "L", false)
	pdf.Ln(size / 3)
	for _, f := range p.Facts {
		if f[1] == "" {
			continue
		}
		pdf.SetFont(font, "B", size)
		pdf.CellFormat(40, size/2, f[0], "", 0, "L", false, 0, "")
		pdf.SetFont(font, "", size)
		pdf.MultiCell(0, size/2, f[1], "", "L", false)
	}
	pdf.Ln(size / 3)
	pdf.Line(margin, pdf.GetY(), width-margin, pdf.GetY())
	pdf.Ln(size / 3)
	for _, line := range p.Lines {
		pdf.MultiCell(0, size/2, line, "", "L", false)
		pdf.Ln(size / 4)
	}
	pdf.SetFont(font, "", size*0.8)
	pdf.Ln(size / 3)
	pdf.MultiCell(0, size*0.4, p.Foot, "", "L", false)
	fits = pdf.GetY() <= height-margin
	var b bytes.Buffer
	err = pdf.Output(&b)
	return b.Bytes(), fits, err
}

// western is the page in the character set of the readers' own fonts, if that has
// all its letters.
func (p Page) western() (Page, bool) {
	ok := true
	coded := func(text string) string {
		out, err := charmap.Windows1252.NewEncoder().String(text)
		ok = ok && err == nil
		return out
	}
	out := Page{Title: coded(p.Title), Foot: coded(p.Foot), At: p.At}
	for _, f := range p.Facts {
		out.Facts = append(out.Facts, [2]string{coded(f[0]), coded(f[1])})
	}
	for _, l := range p.Lines {
		out.Lines = append(out.Lines, coded(l))
	}
	if !ok {
		return p, false
	}
	return out, true
}
