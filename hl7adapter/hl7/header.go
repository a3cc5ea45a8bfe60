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
func (m Message) Header() (h Header) {
	rest, ok := m.header().rest()
	if !ok {
		return h
	}
	for n := 2; n <= 18; n++ {
		raw, more := rest, false
		if i := bytes.IndexByte(rest, m.sx.field); i >= 0 {
			raw, rest, more = rest[:i:i], rest[i+1:], true
		}
		f := Field{Value{raw, m.sx}}
		switch n {
		case 3:
			h.Application = f
		case 4:
			h.Facility = f
		case 5:
			h.ReceivingApplication = f
		case 6:
			h.ReceivingFacility = f
		case 7:
			h.Time = f
		case 9:
			h.Type, h.Event, h.Structure = f.Component(1), f.Component(2), f.Component(3)
		case 10:
			h.ControlID = raw
		case 11:
			h.Processing = f
		case 12:
			h.Version = f
		case 13:
			h.Sequence = f
		case 15:
			h.AcceptAcknowledgement = f
		case 16:
			h.Acknowledgement = f
		case 18:
			h.Charset = f
		}
		if !more {
			break
		}
	}
	return h
}
