package mllp

import (
	"context"
	"testing"

	"github.com/safeguard-edge/safeguard/hl7adapter/hl7"
)

func TestSenderDelivers(t *testing.T) {
	d := newDisk()
	l := listen(t, testConfig(), d.accept)
	c := DefaultSenderConfig()
	c.Address = l.Addr().String()
	s, err := NewSender(c)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, id := range []string{"1", "2", "3"} {
		r, err := s.Send(context.Background(), a04(id))
		if err != nil || r.Code != hl7.AA || string(r.ControlID) != id {
			t.Fatalf("got %+v, %v", r, err)
		}
	}
}
