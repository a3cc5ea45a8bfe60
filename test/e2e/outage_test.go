package e2e

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard/test/hospital"
	"github.com/safeguard-edge/safeguard/test/world"
)

// errorCentre has the centre's certificate and answers every call with a gRPC
// error.
func errorCentre(t *testing.T, w *world.World) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		Handler: http.HandlerFunc(func(out http.ResponseWriter, _ *http.Request) {
			out.Header().Set("Content-Type", "application/grpc")
			out.Header().Set("Grpc-Status", "13") // INTERNAL
			out.Header().Set("Grpc-Message", "the centre has a fault")
			out.WriteHeader(http.StatusOK)
		}),
		TLSConfig:         &tls.Config{ClientAuth: tls.RequestClientCert, NextProtos: []string{"h2"}},
		ReadHeaderTimeout: time.Minute,
	}
	ended := make(chan error, 1)
	go func() {
		ended <- server.ServeTLS(listener, w.Path("certificates", "centre.pem"), w.Path("certificates", "centre-key.pem"))
	}()
	t.Cleanup(func() {
		_ = server.Close()
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return listener.Addr().String()
}

// TestOutages lets the line to the centre, the line to the EPR, and both go wrong
// in every way, while 64 connections register patients. Each acknowledged
// registration must end in one alert, whose last version gives the centre's own
// answer, and in one notification; and the feed must never wait for either.
func TestOutages(t *testing.T) {
	const senders, pause = 64, 1200 * time.Millisecond
	w, err := world.New(t.Context(), t.TempDir(), programs)
	t.Cleanup(func() { finish(t, w) })
	if err != nil {
		t.Fatal(err)
	}
	proxy := func(target string) *world.Proxy {
		p, err := world.NewProxy(target)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Close)
		return p
	}
	centre, epr := proxy(w.Central), proxy(w.EPR.Addr())
	if err := w.Through(centre.Addr(), epr.Addr()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if err := w.StartCentral(ctx); err != nil {
		t.Fatal(err)
	}
	children := patients(t, w, senders)
	if err := w.StartAgent(ctx); err != nil {
		t.Fatal(err)
	}
	faulty := errorCentre(t, w)

	ledger, stopSending := register(ctx, t, w, children, pause)
	well := world.Fault{}
	for _, outage := range []struct {
		name        string
		centre, epr []world.Fault // in turn, until the registrations of the outage have come
		rounds      int           // of all connections
		answer      string        // of the EPR; empty for AA
	}{
		{name: "all well", rounds: 1},
		{name: "centre gone for long", centre: []world.Fault{{Refuse: true}}, rounds: 5},
		{name: "centre slow", centre: []world.Fault{{Delay: 300 * time.Millisecond}}, rounds: 2},
		{name: "centre flapping", centre: []world.Fault{{Refuse: true}, well}, rounds: 4},
		{name: "centre half open", centre: []world.Fault{{Hang: true}}, rounds: 4},
		{name: "centre answers errors", centre: []world.Fault{{Target: faulty}}, rounds: 3},
		{name: "EPR gone for long", epr: []world.Fault{{Refuse: true}}, rounds: 5},
		{name: "EPR slow", epr: []world.Fault{{Delay: 50 * time.Millisecond}}, rounds: 2},
		{name: "EPR flapping", epr: []world.Fault{{Refuse: true}, well}, rounds: 4},
		{name: "EPR half open", epr: []world.Fault{{Hang: true}}, rounds: 3},
		{name: "EPR answers errors", answer: "AE", rounds: 2},
		{name: "both gone", centre: []world.Fault{{Refuse: true}}, epr: []world.Fault{{Refuse: true}}, rounds: 4},
		{name: "both half open", centre: []world.Fault{{Hang: true}}, epr: []world.Fault{{Hang: true}}, rounds: 3},
	} {
		begin := time.Now()
		if outage.answer != "" {
			w.EPR.Answer(outage.answer)
		}
		for round := range outage.rounds {
			if n := len(outage.centre); n > 0 && (n > 1 || round == 0) {
				centre.Set(outage.centre[round%n])
			}
			if n := len(outage.epr); n > 0 && (n > 1 || round == 0) {
				epr.Set(outage.epr[round%n])
			}
			// The feed goes on, whatever is wrong behind it.
			if err := ledger.wait(ctx, senders); err != nil {
				t.Fatalf("%s: registrations are not acknowledged: %v", outage.name, err)
			}
		}
		centre.Set(well)
		epr.Set(well)
		w.EPR.Answer("AA")
		back := time.Now()
		from := len(w.EPR.Ledger())
		if _, _, err := w.EPR.Wait(ctx, from, func(r hospital.Received) bool { return strings.Contains(r.Body, heldByCentre) }); err != nil {
			t.Fatalf("%s: no alert with the centre's answer since: %v", outage.name, err)
		}
		t.Logf("%s: %v, first answered alert %v after its end", outage.name, back.Sub(begin).Round(100*time.Millisecond), time.Since(back).Round(10*time.Millisecond))
	}
	stopSending()
	visits := ledger.visits()
	end := time.Now()
	settled(ctx, t, w, visits)
	list, repeats := readLedger(t, w.EPR.Ledger())
	versions := 0
	for _, visit := range visits {
		v := list[visit]
		if v == nil || v.final < 0 {
			t.Errorf("visit %s was acknowledged and has no alert with the centre's answer", visit)
			continue
		}
		versions += len(v.controls)
	}
	notifiedOnce(ctx, t, w, len(list))
	t.Logf("%d registrations, %d alerts in %d versions, %d repeats; all told %v after the end", len(visits), len(list), versions, repeats, time.Since(end).Round(10*time.Millisecond))
	if len(list) < senders*30 {
		t.Errorf("%d registrations, want many more", len(list))
	}
	text, err := os.ReadFile(w.Path("safeguard-agent.log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, child := range children[:5] {
		if strings.Contains(string(text), child.Number) || strings.Contains(string(text), child.Family) {
			t.Error("the agent's log tells about a patient")
		}
	}
}
