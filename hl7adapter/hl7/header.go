package hl7

import "bytes"

// Header is what MSH says. Its values refer to the message.
type Header struct {
	Application           Field     // MSH-3, who sent it
	Facility              Field     // MSH-4
	ReceivingApplication  Field     // MSH-5
	ReceivingFacility     Field     // MSH-6
	Time                  Field     // MSH-7
	Type                  Component // MSH-9.1, such as ADT
	Event                 Component // MSH-9.2, such as A04
	Structure             Component // MSH-9.3, such as ADT_A01
	ControlID             []byte    // MSH-10, verbatim
	Processing            Field     // MSH-11, P for production
	Version               Field     // MSH-12
	Sequence              Field     // MSH-13
	AcceptAcknowledgement Field     // MSH-15
	Acknowledgement       Field     // MSH-16, of the application
	Charset               Field     // MSH-18
}

// Header reads MSH once.
func (m Message) Header() Header {
	var h Header
	rest, ok := m.header().rest()
	if !ok {
		return h
	}
	fields := [...]*Field{3: &h.Application, 4: &h.Facility, 5: &h.ReceivingApplication, 6: &h.ReceivingFacility, 7: &h.Time,
		11: &h.Processing, 12: &h.Version, 13: &h.Sequence, 15: &h.AcceptAcknowledgement, 16: &h.Acknowledgement, 18: &h.Charset}
	for n := 2; n < len(fields); n++ {
		raw, more := rest, false
		if i := bytes.IndexByte(rest, m.sx.field); i >= 0 {
			raw, rest, more = rest[:i:i], rest[i+1:], true
		}
		f := Field{Value{raw, m.sx}}
		switch {
		case n == 9:
			h.Type, h.Event, h.Structure = f.Component(1), f.Component(2), f.Component(3)
		case n == 10:
			h.ControlID = raw
		case fields[n] != nil:
			*fields[n] = f
		}
		if !more {
			break
		}
	}
	return h
}
