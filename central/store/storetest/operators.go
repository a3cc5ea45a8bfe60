package storetest

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard/central/audit"
	"github.com/safeguard-edge/safeguard/central/store"
)

var operatorTests = []test{
	{"an operator's account", operators},
	{"a code is used once", codes},
	{"attempts to sign in are limited", attempts},
	{"sessions open and end", sessions},
	{"sessions and attempts that are old go", retainSessions},
}

var ops = audit.Who{Caller: "operator ops"}

func account(name string, role store.Role) store.OperatorAccount {
	return store.OperatorAccount{Name: name, Role: role, Password: "$argon2id$of " + name, Factor: []byte("factor of " + name)}
}

func session(id, name, source string, at time.Time) store.Session {
	return store.Session{ID: []byte(id), Name: name, Source: source, Role: store.Operating, Opened: at, Seen: at}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func operators(t *testing.T, open func() store.Store) {
	s := open()
	must(t, s.PutOperator(t.Context(), account("imogen", store.Viewer), ops))
	must(t, s.PutOperator(t.Context(), account("ann", store.Administering), ops))
	must(t, s.PutOperator(t.Context(), account("imogen", store.Operating), ops))
	must(t, s.Close())
	s = open()
	defer s.Close()
	list, err := s.Operators(t.Context())
	must(t, err)
	if len(list) != 2 || list[0].Name != "ann" || list[0].Role != store.Administering || list[1].Role != store.Operating ||
		string(list[1].Factor) != "factor of imogen" || list[1].Password != "$argon2id$of imogen" || list[1].AddedBy != ops.Caller || time.Since(list[1].Added) > time.Hour {
		t.Errorf("got %+v, want ann and imogen as they were put last", list)
	}
	must(t, s.RemoveOperator(t.Context(), "ann", ops))
	if err := s.RemoveOperator(t.Context(), "ann", ops); !errors.Is(err, store.ErrNoOperator) {
		t.Errorf("removed twice: got %v, want ErrNoOperator", err)
	}
	must(t, s.Audit(t.Context(), audit.Entry{At: morning, Act: audit.SignInRefused, Who: ops}))
	var out strings.Builder
	_, err = s.ExportAudit(t.Context(), &out, ops)
	must(t, err)
	for _, want := range []string{string(audit.OperatorChanged), string(audit.OperatorRemoved), string(audit.SignInRefused), `"operator":"ann"`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the audit lacks %q", want)
		}
	}
	for _, secret := range []string{"argon2id", "factor of"} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("the audit has %q", secret)
		}
	}
}

func codes(t *testing.T, open func() store.Store) {
	s := open()
	defer s.Close()
	must(t, s.PutOperator(t.Context(), account("imogen", store.Viewer), ops))
	for _, c := range []struct {
		what, name string
		step       int64
		want       bool
	}{
		{"the first", "imogen", 100, true},
		{"the same again", "imogen", 100, false},
		{"an earlier one", "imogen", 99, false},
		{"a later one", "imogen", 101, true},
		{"of nobody", "nobody", 200, false},
	} {
		if got, err := s.UseCode(t.Context(), c.name, c.step); err != nil || got != c.want {
			t.Errorf("%s: got %v, %v, want %v", c.what, got, err, c.want)
		}
	}
}

func attempts(t *testing.T, open func() store.Store) {
	s := open()
	defer s.Close()
	since := time.Now().Add(-time.Minute)
	try := func(name, address string) bool {
		t.Helper()
		ok, err := s.Attempt(t.Context(), []store.AttemptLimit{{Subject: "name " + name, Most: 3}, {Subject: "address " + address, Most: 5}}, since)
		must(t, err)
		return ok
	}
	for n := range 3 {
		if !try("imogen", "192.0.2.1") {
			t.Errorf("attempt %d was refused, want 3", n+1)
		}
	}
	if try("imogen", "192.0.2.2") {
		t.Error("the fourth was allowed, from another address")
	}
	for _, more := range []struct {
		name string
		want bool
	}{{"ann", true}, {"ann", true}, {"bob", false}} {
		if try(more.name, "192.0.2.1") != more.want {
			t.Errorf("%s: want 5 from one address, whomever they are for", more.name)
		}
	}
	must(t, s.Succeeded(t.Context(), "name imogen"))
	if !try("imogen", "192.0.2.3") {
		t.Error("refused after one had succeeded")
	}
	since = time.Now().Add(time.Minute)
	if !try("bob", "192.0.2.1") {
		t.Error("refused for attempts of long ago")
	}
}

func sessions(t *testing.T, open func() store.Store) {
	s := open()
	defer s.Close()
	must(t, s.PutOperator(t.Context(), account("imogen", store.Operating), ops))
	for _, n := range []store.Session{session("1", "imogen", store.LocalAccount, morning), session("2", "imogen", "https://id.example", morning.Add(time.Minute)), session("3", "ann", store.LocalAccount, morning.Add(2*time.Minute))} {
		must(t, s.OpenSession(t.Context(), n, ops))
	}
	must(t, s.SeenSession(t.Context(), []byte("1"), morning.Add(time.Hour)))
	must(t, s.SeenSession(t.Context(), []byte("1"), morning.Add(time.Minute)))
	got, err := s.Session(t.Context(), []byte("1"))
	must(t, err)
	if got.Name != "imogen" || got.Role != store.Operating || got.Source != store.LocalAccount || !got.Opened.Equal(morning) || !got.Seen.Equal(morning.Add(time.Hour)) {
		t.Errorf("got %+v", got)
	}
	if all, err := s.Sessions(t.Context()); err != nil || len(all) != 3 || all[0].Name != "ann" {
		t.Errorf("got %+v, %v, want three, the latest first", all, err)
	}
	must(t, s.EndSession(t.Context(), []byte("3"), ops))
	if err := s.EndSession(t.Context(), []byte("3"), ops); !errors.Is(err, store.ErrNoSession) {
		t.Errorf("ended twice: got %v, want ErrNoSession", err)
	}
	must(t, s.RemoveOperator(t.Context(), "imogen", ops))
	if _, err := s.Session(t.Context(), []byte("1")); !errors.Is(err, store.ErrNoSession) {
		t.Errorf("session of an account that was removed: got %v, want ErrNoSession", err)
	}
	if _, err := s.Session(t.Context(), []byte("2")); err != nil {
		t.Errorf("session that a provider vouches for: %v", err)
	}
}

func retainSessions(t *testing.T, open func() store.Store) {
	s := open()
	defer s.Close()
	for _, n := range []store.Session{session("old", "a", "x", morning.Add(-13*time.Hour)), session("idle", "b", "x", morning.Add(-time.Hour)), session("new", "c", "x", morning)} {
		must(t, s.OpenSession(t.Context(), n, ops))
	}
	must(t, s.SeenSession(t.Context(), []byte("old"), morning))
	must(t, s.RetainSessions(t.Context(), morning.Add(-12*time.Hour), morning.Add(-30*time.Minute), morning))
	if all, err := s.Sessions(t.Context()); err != nil || len(all) != 1 || all[0].Name != "c" {
		t.Errorf("got %+v, %v, want the new one alone", all, err)
	}
}
