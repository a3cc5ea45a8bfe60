package mllp

import (
	"testing"
)

func TestListenerAcknowledges(t *testing.T) {
	d := newDisk()
	l := listen(t, testConfig(), d.accept)
	p := connect(t, l.Addr())
	p.write(frame(a04("1")))
	p.wantAck("AA", "1")
	p.write(frame(a04("2")), frame(a04("3")))
	p.wantAck("AA", "2")
	p.wantAck("AA", "3")
	if s := l.Stats(); s.Frames != 3 || s.Accepted != 3 || s.Acknowledged["AA"] != 3 || s.Open != 1 {
		t.Errorf("got %+v", s)
	}
}
