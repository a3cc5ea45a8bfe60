package cpisxml

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Unreadable stands for the sequence number and the quantity of an upload in
// which they could not be read.
const Unreadable = "-1"

// Acknowledgement is the answer to an upload (FileResponse in
// REPC_MT000003GB01), without what it says of each record.
type Acknowledgement struct {
	Created   time.Time
	Sequence  string // of the upload; Unreadable where it could not be read
	Quantity  int    // records processed; -1 where that is not known
	File      FileCode
	Recipient Organisation
}

// Answer is the verdict on one record.
type Answer struct {
	Code   RecordCode
	Text   string // why, for a person; may be empty
	Record Record
}

// place is where a record of the answer stands.
const place = "/FileResponse/message[%d]/cP-ISLAAcknowledgementResponse/pertinentInformation1/%s"

// WriteAcknowledgement writes the acknowledgement. Each record has a detail, in
// the order of the upload, and a message, so that message[n] is the upload's
// record[n]. A refused record is handed back in its message. One that is so
// written that the schemas would refuse it there has no message, and its detail
// names the place in the upload.
//
// answers is gone through twice, and must give the same both times.
func WriteAcknowledgement(w io.Writer, a Acknowledgement, answers func() iter.Seq2[Answer, error]) error {
	if err := a.check(); err != nil {
		return fmt.Errorf("write acknowledgement: %w", err)
	}
	e := newEmitter(w)
	e.root("FileResponse")
	e.leaf("creationTime", "value", moment(a.Created))
	e.leaf("id", "extension", a.Sequence)
	e.leaf("transmissionQuantity", "value", strconv.Itoa(a.Quantity))
	e.open("acknowledgementFile")
	e.open("acknowledgementFileDetail")
	e.leaf("code", "code", string(a.File), "displayName", fileNames[a.File])
	e.close("acknowledgementFileDetail")
	e.close("acknowledgementFile")
	good, bad, err := e.details(answers())
	if err != nil {
		return fmt.Errorf("write acknowledgement: %w", err)
	}
	e.authority("communicationFunctionRcv", a.Recipient)
	e.value("failedReturnedCP-ISRecords", "value", strconv.Itoa(bad))
	if err := e.messages(answers(), good+bad); err != nil {
		return fmt.Errorf("write acknowledgement: %w", err)
	}
	e.value("successfulReturnedCP-ISRecords", "value", strconv.Itoa(good))
	if err := e.end("FileResponse"); err != nil {
		return fmt.Errorf("write acknowledgement: %w", err)
	}
	return nil
}

func (a Acknowledgement) check() error {
	switch {
	case a.Created.IsZero():
		return errors.New("no time")
	case strings.TrimSpace(a.Sequence) == "":
		return errors.New("no sequence number, want the upload's or " + Unreadable)
	case a.Quantity < -1:
		return fmt.Errorf("quantity %d, want the number of records or -1", a.Quantity)
	case fileNames[a.File] == "":
		return errors.New("no file code")
	}
	return a.Recipient.checkAuthority()
}

// element is what a record is answered in, if it can be.
func (a Answer) element() (string, bool) {
	if a.Code == RecordLoaded {
		return "validCP-ISRecord", a.Record.writable(false) == nil
	}
	return "invalidCP-ISRecord", a.Record.writable(true) == nil
}

func (e *emitter) details(answers iter.Seq2[Answer, error]) (good, bad int, err error) {
	messages := 0
	for a, err := range answers {
		switch {
		case err != nil:
			return 0, 0, err
		case recordNames[a.Code] == "":
			return 0, 0, errors.New("a record without a code")
		case a.Code == RecordLoaded:
			good++
		default:
			bad++
		}
		if good+bad == 1 {
			e.open("acknowledgementRecord")
		}
		e.open("acknowledgementRecordDetail")
		code := []string{"code", string(a.Code), "codeSystem", oidRecordCode, "displayName", recordNames[a.Code]}
		if a.Text == "" {
			e.leaf("code", code...)
		} else {
			e.line()
			e.tag("code", code)
			e.put("><originalText>")
			e.escape(a.Text)
			e.put("</originalText></code>")
		}
		location := fmt.Sprintf("/File/record[%d]", good+bad)
		if element, ok := a.element(); ok {
			messages++
			location = fmt.Sprintf(place, messages, element)
		}
		e.text("location", location)
		e.close("acknowledgementRecordDetail")
	}
	if good+bad > 0 {
		e.close("acknowledgementRecord")
	}
	return good, bad, nil
}

func (e *emitter) messages(answers iter.Seq2[Answer, error], want int) error {
	count := 0
	for a, err := range answers {
		if err != nil {
			return err
		}
		count++
		element, ok := a.element()
		if !ok {
			continue
		}
		e.open("message")
		e.open("cP-ISLAAcknowledgementResponse")
		e.open("pertinentInformation1")
		e.open(element)
		if a.Code != RecordLoaded {
			e.plans(a.Record.Plans)
		}
		e.subjects(a.Record.Subjects)
		e.close(element)
		e.close("pertinentInformation1")
		e.close("cP-ISLAAcknowledgementResponse")
		e.close("message")
	}
	if count != want {
		return fmt.Errorf("%d records the second time, %d the first", count, want)
	}
	return nil
}

var messagePlace = regexp.MustCompile(`^/FileResponse/message\[(\d+)\]`)

// ReadAcknowledgement reads an acknowledgement, as a local authority's system
// does. All of it is in memory. An answer whose location leads to no message has
// a record with nothing but its position.
func ReadAcknowledgement(r io.Reader) (Acknowledgement, []Answer, error) {
	var a Acknowledgement
	s, err := newScanner(r, "FileResponse", "acknowledgementFile", "acknowledgementRecord")
	if err != nil {
		return a, nil, fmt.Errorf("read acknowledgement: %w", err)
	}
	var answers []Answer
	var places []string
	var messages []Record
	for {
		n, err := s.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			switch n.name {
			case "acknowledgementRecordDetail":
				code := n.first("code")
				answers = append(answers, Answer{Code: RecordCode(code.attr("code")), Text: code.first("originalText").words()})
				places = append(places, n.first("location").words())
			case "message":
				messages = append(messages, readMessage(n))
			default:
				err = a.read(n)
			}
		}
		if err != nil {
			return a, nil, fmt.Errorf("read acknowledgement: %w", err)
		}
	}
	if fileNames[a.File] == "" {
		return a, nil, errors.New("read acknowledgement: no file code that is known")
	}
	for i, where := range places {
		answers[i].Record.Position = i + 1
		if m := messagePlace.FindStringSubmatch(where); m != nil {
			if at, err := strconv.Atoi(m[1]); err == nil && at >= 1 && at <= len(messages) {
				answers[i].Record = messages[at-1]
				answers[i].Record.Position = i + 1
			}
		}
	}
	return a, answers, nil
}

func (a *Acknowledgement) read(n *node) (err error) {
	switch n.name {
	case "creationTime":
		if a.Created, err = parseMoment(n.attr("value")); err != nil {
			return fmt.Errorf("creationTime: %w", err)
		}
	case "id":
		if a.Sequence = n.attr("extension"); a.Sequence == "" {
			a.Sequence = n.attr("value") // as the national service writes its own failures
		}
	case "transmissionQuantity":
		if a.Quantity, err = strconv.Atoi(n.attr("value")); err != nil {
			return errors.New("transmissionQuantity: is no number")
		}
	case "acknowledgementFileDetail":
		if a.File == "" {
			a.File = FileCode(n.first("code").attr("code"))
		}
	case "communicationFunctionRcv":
		a.Recipient = readOrganisation(n.first("organisation"))
	}
	return nil
}

func readMessage(n *node) Record {
	for _, p := range n.first("cP-ISLAAcknowledgementResponse", "pertinentInformation1").kidsOrNone() {
		if p.name == "validCP-ISRecord" || p.name == "invalidCP-ISRecord" {
			return readRecord(p)
		}
	}
	return Record{Fault: "a message without a record"}
}

func (n *node) kidsOrNone() []*node {
	if n == nil {
		return nil
	}
	return n.kids
}
