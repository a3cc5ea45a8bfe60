package hl7

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
	msh := m.header()
	var at [19]int // the separators: field n stands between the one at n-2 and the next
	known := marks(msh.raw, m.sx.field(), at[:])
	if known < len(at) {
		at[known] = len(msh.raw)
	}
	field := func(n int) Field {
		if n-2 >= known {
			return Field{Value{nil, m.sx}}
		}
		return Field{Value{msh.raw[at[n-2]+1 : at[n-1] : at[n-1]], m.sx}}
	}
	h.Application = field(3)
	h.Facility = field(4)
	h.ReceivingApplication = field(5)
	h.ReceivingFacility = field(6)
	h.Time = field(7)
	kind := field(9)
	h.Type, h.Event, h.Structure = kind.Component(1), kind.Component(2), kind.Component(3)
	h.ControlID = field(10).Raw()
	h.Processing = field(11)
	h.Version = field(12)
	h.Sequence = field(13)
	h.AcceptAcknowledgement = field(15)
	h.Acknowledgement = field(16)
	h.Charset = field(18)
	return h
}
