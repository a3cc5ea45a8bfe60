// Package fhir puts alerts into an EPR as FHIR R4 Flags over HTTPS.
//
// A Flag belongs to a patient and a plan, and bears the identifier of each alert
// that shows it: two attendances of one child share it, and it becomes inactive
// when the last of them is withdrawn. What is there is read first and changed only
// where it differs, with If-Match, so that a repeat changes nothing. Patients are
// found, never made.
package fhir

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/hl7adapter/epr"
)

// Sink is one FHIR server. Make one with New.
type Sink struct {
	name    string
	config  Config
	wording epr.Wording
	zone    *time.Location
	http    *http.Client
	tokens  *tokens // nil for none
}

// New makes a sink. It connects when there is something to send.
func New(name string, c Config, w epr.Wording, zone *time.Location) (*Sink, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 2 * parallel // each delivery asks two things at the same time
	if c.TLS != nil {
		u, err := url.Parse(c.Base)
		if err != nil {
			return nil, err
		}
		if transport.TLSClientConfig, err = c.TLS.Dialling(u.Hostname()); err != nil {
			return nil, fmt.Errorf("tls: %w", err)
		}
		if c.TLS.ServerName == "" {
			transport.TLSClientConfig.ServerName = "" // the token's host may be another
		}
		if c.TLS.Cert != "" { // read anew for each connection, so that it can be renewed without a restart
			transport.TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				own, err := tls.LoadX509KeyPair(c.TLS.Cert, c.TLS.Key)
				return &own, err
			}
		}
	}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	s := &Sink{name: name, config: c, wording: w, zone: zone, http: client}
	if c.Token != nil {
		s.tokens = &tokens{config: *c.Token, http: client}
	}
	return s, nil
}

// parallel is how many patients' alerts are on their way at the same time.
const parallel = 4

// Name is the sink's name.
func (s *Sink) Name() string { return s.name }

// Carrier is fhir.
func (s *Sink) Carrier() string { return "fhir" }

// Preview is the Flags that would be there, and for NHS England's shape what they
// refer to.
func (s *Sink) Preview(a safeguard.Alert) (string, error) {
	var b strings.Builder
	if a.Action == safeguard.Withdraw {
		return "each Flag of the alert becomes inactive, unless another attendance shows it\n", nil
	}
	const id = "EXAMPLE"
	for _, w := range s.wants(a, id) {
		list := []any{}
		if s.config.Shape == England && w.plan != nil {
			list = append(list, s.team(w, a, id), s.care(w, a, id, "CareTeam/EXAMPLE"))
			w.flag.Extension = []extension{{flagDetail, &reference{"CarePlan/EXAMPLE"}}}
		}
		for _, r := range append(list, w.flag) {
			text, err := json.MarshalIndent(r, "", "  ")
			if err != nil {
				return "", err
			}
			b.Write(append(text, '\n'))
		}
	}
	return b.String(), nil
}

// Parallel is how many alerts may be delivered at the same time.
func (s *Sink) Parallel() int { return parallel }

// Close ends idle connections.
func (s *Sink) Close() error {
	s.http.CloseIdleConnections()
	return nil
}

// Deliver makes the EPR show what the alert says, and nothing else of it.
func (s *Sink) Deliver(ctx context.Context, a safeguard.Alert) (safeguard.Receipt, error) {
	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	code, err := s.deliver(ctx, a)
	now := time.Now()
	var later *epr.Later
	var why *refusal
	var stop *stop
	switch {
	case err == nil:
		return safeguard.Receipt{Outcome: safeguard.Delivered, Code: code, At: now}, nil
	case errors.As(err, &later):
		return safeguard.Receipt{}, err
	case errors.As(err, &stop):
		return safeguard.Receipt{Outcome: stop.outcome, Code: stop.code, Text: stop.text, At: now}, nil
	case errors.As(err, &why):
		return safeguard.Receipt{Outcome: outcomeOf(why.status), Code: strconv.Itoa(why.status), Text: why.text, At: now}, nil
	}
	return safeguard.Receipt{}, err
}

// stop is why an alert can not be delivered, other than by a status.
type stop struct {
	outcome    safeguard.Outcome
	code, text string
}

func (s *stop) Error() string { return s.code }

// outcomeOf tells what can never be taken from what may be later.
func outcomeOf(status int) safeguard.Outcome {
	switch status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity, http.StatusNotImplemented:
		return safeguard.Refused
	}
	return safeguard.Retry
}

// kinds are the resources of a shape, in the order in which they are written: what
// is referred to comes first.
func (s *Sink) kinds() []string {
	if s.config.Shape == England {
		return []string{"CareTeam", "CarePlan", "Flag"}
	}
	return []string{"Flag"}
}

func (s *Sink) deliver(ctx context.Context, a safeguard.Alert) (code string, err error) {
	d := &delivery{Sink: s, alert: a, control: a.ControlID(s.name), keep: map[string]bool{}}
	if err := d.reach(ctx); err != nil {
		return "", err
	}
	if d.changed == 0 {
		return "unchanged", nil
	}
	return "200", nil
}

// Compare reads what the EPR shows of the alert, and says what differs from what
// it should; nothing where nothing does. It changes nothing.
func (s *Sink) Compare(ctx context.Context, a safeguard.Alert) (differs string, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	d := &delivery{Sink: s, alert: a, control: a.ControlID(s.name), keep: map[string]bool{}, reads: true}
	err = d.reach(ctx)
	if why := (*stop)(nil); errors.As(err, &why) {
		return why.text, nil
	}
	return strings.Join(d.differs, ", "), err
}

// reach makes the EPR show what the alert says, and nothing else of it.
func (d *delivery) reach(ctx context.Context) error {
	a, id := d.alert, ""
	asks, asking := errgroup.WithContext(ctx)
	asks.Go(func() error {
		for _, kind := range d.kinds() {
			ours, err := d.search(asking, kind, alertSystem, string(a.ID))
			if err != nil {
				return err
			}
			d.ours = append(d.ours, ours...)
		}
		return nil
	})
	if a.Action != safeguard.Withdraw {
		asks.Go(func() (err error) {
			id, err = d.patient(asking)
			return err
		})
	}
	if err := asks.Wait(); err != nil {
		return err
	}
	if a.Action != safeguard.Withdraw {
		for _, w := range d.wants(a, id) {
			if err := d.show(ctx, w, id); err != nil {
				return err
			}
		}
	}
	// From the last to the first: the Flag goes before what it refers to.
	for i := len(d.ours) - 1; i >= 0; i-- {
		if r := d.ours[i]; !d.keep[r.kind+"/"+r.id] {
			if err := d.release(ctx, r); err != nil {
				return err
			}
		}
	}
	return nil
}

// delivery is one alert on its way.
type delivery struct {
	*Sink
	alert   safeguard.Alert
	control string
	ours    []resource      // that bear the alert's identifier
	keep    map[string]bool // those of them that the alert still shows
	changed int
	reads   bool     // changes nothing, and notes what it would
	differs []string // if so: what
}

// resource is one as the EPR has it. What we do not know of it stays.
type resource struct {
	kind, id, version string
	identifiers       []identifier
	status            string
	fields            map[string]json.RawMessage
}

func (r resource) has(id identifier) bool {
	for _, i := range r.identifiers {
		if i == id {
			return true
		}
	}
	return false
}

// requestID is the same for a repeat of the same request.
func (d *delivery) requestID(parts ...string) string {
	return uuid(append([]string{"request", d.control}, parts...)...)
}

// search finds resources by an identifier of ours, which tells nothing about the
// patient.
func (d *delivery) search(ctx context.Context, kind, system, value string) ([]resource, error) {
	query := url.Values{"identifier": {system + "|" + value}}
	b, err := d.read(ctx, request{method: http.MethodGet, path: kind + "?" + query.Encode(), id: d.requestID("search", kind, value)})
	if err != nil {
		return nil, fmt.Errorf("search %s: %w", kind, err)
	}
	var out []resource
	for _, e := range b.Entry {
		r, err := parseResource(e.Resource)
		if err != nil {
			return nil, err
		}
		// A server that does not know the parameter answers with everything.
		if r.kind == kind && r.has(identifier{system, value}) {
			out = append(out, r)
		}
	}
	return out, nil
}

func parseResource(raw json.RawMessage) (resource, error) {
	var r resource
	err := json.Unmarshal(raw, &r.fields)
	var m meta
	for field, to := range map[string]any{"resourceType": &r.kind, "id": &r.id, "meta": &m, "identifier": &r.identifiers, "status": &r.status} {
		if v, is := r.fields[field]; is {
			err = errors.Join(err, json.Unmarshal(v, to))
		}
	}
	if err != nil {
		return resource{}, errors.New("read resource: not what FHIR has")
	}
	r.version = m.VersionID
	return r, nil
}

// patient finds whom the alert is about, and makes sure that it is.
func (d *delivery) patient(ctx context.Context) (id string, err error) {
	p := d.alert.Attendance.Patient
	number, mrn := p.Number.Reveal(), p.MRN.Reveal().Value
	var found []patient
	if number != "" && d.config.NHSSystem != "" {
		found, err = d.find(ctx, identifier{d.config.NHSSystem, number}, false)
	}
	if err == nil && len(found) == 0 && mrn != "" && d.config.MRNSystem != "" {
		found, err = d.find(ctx, identifier{d.config.MRNSystem, mrn}, true)
	}
	if err != nil {
		return "", err
	}
	born := p.Born.Reveal().String()
	switch {
	case len(found) == 0:
		return "", &stop{safeguard.Retry, "patient-not-found", "the EPR's FHIR server does not have the patient"}
	case len(found) > 1:
		return "", &stop{safeguard.Refused, "patient-ambiguous", "the EPR's FHIR server has several patients with the identifier"}
	case born != "" && len(found[0].BirthDate) == len(born) && found[0].BirthDate != born:
		return "", &stop{safeguard.Refused, "patient-mismatch", "the patient with the identifier has another date of birth"}
	}
	return found[0].ID, nil
}

// find finds patients by an identifier in a request's body, since addresses end up
// in logs. A server without that search is asked for a hospital's own number by
// address, and never for an NHS number. That is not remembered: a gateway that is
// being changed says the same for a while.
func (d *delivery) find(ctx context.Context, id identifier, local bool) ([]patient, error) {
	values := url.Values{"identifier": {id.System + "|" + id.Value}}
	found, err := d.patients(ctx, request{method: http.MethodPost, path: "Patient/_search", form: values, id: d.requestID("patient", id.System)}, id)
	if refused := (*refusal)(nil); !errors.As(err, &refused) || !unsupported(refused.status) {
		return found, err
	}
	if !local {
		return nil, nil
	}
	return d.patients(ctx, request{method: http.MethodGet, path: "Patient?" + values.Encode(), id: d.requestID("patient", "by address")}, id)
}

// unsupported is how servers say that they have no such search.
func unsupported(status int) bool {
	return status == http.StatusNotFound || status == http.StatusMethodNotAllowed || status == http.StatusNotImplemented
}

func (d *delivery) patients(ctx context.Context, r request, id identifier) ([]patient, error) {
	b, err := d.read(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("find patient: %w", err)
	}
	var out []patient
	for _, e := range b.Entry {
		var p patient
		if json.Unmarshal(e.Resource, &p) != nil || p.ResourceType != "Patient" || p.ID == "" || p.Active != nil && !*p.Active {
			continue
		}
		for _, i := range p.Identifier {
			if i == id {
				out = append(out, p)
				break
			}
		}
	}
	return out, nil
}

// show makes one Flag be there, and what it refers to.
func (d *delivery) show(ctx context.Context, w shown, id string) error {
	if d.config.Shape == England && w.plan != nil {
		team, err := d.put(ctx, "CareTeam", uuid("team", w.key), d.team(w, d.alert, id))
		if err != nil {
			return err
		}
		care, err := d.put(ctx, "CarePlan", uuid("plan", w.key), d.care(w, d.alert, id, team))
		if err != nil {
			return err
		}
		w.flag.Extension = []extension{{flagDetail, &reference{care}}}
	}
	_, err := d.put(ctx, "Flag", w.key, w.flag)
	return err
}

// put makes the resource be there as wanted, and returns a reference to it.
func (d *delivery) put(ctx context.Context, kind, key string, want any) (string, error) {
	there, found := d.known(kind, key)
	if !found && d.reads {
		list, err := d.search(ctx, kind, flagSystem, key)
		if err != nil {
			return "", err
		}
		if len(list) != 1 {
			d.differs = append(d.differs, fmt.Sprintf("the EPR has %d of one %s", len(list), kind))
			return kind + "/" + key, nil
		}
		there, found = list[0], true
	}
	if !found {
		status, err := d.call(ctx, request{method: http.MethodPost, path: kind, body: want, id: d.requestID("create", key),
			header: map[string]string{"If-None-Exist": "identifier=" + url.QueryEscape(flagSystem+"|"+key), "Prefer": "return=representation"}}, nil)
		if err != nil {
			return "", fmt.Errorf("create %s: %w", kind, err)
		}
		if status == http.StatusCreated {
			d.changed++
		}
		list, err := d.search(ctx, kind, flagSystem, key)
		if err != nil {
			return "", err
		}
		if len(list) != 1 {
			return "", &stop{safeguard.Retry, "flag-not-one", fmt.Sprintf("the EPR has %d of one %s", len(list), kind)}
		}
		there = list[0]
	}
	ref := kind + "/" + there.id
	d.keep[ref] = true
	same, merged, err := merge(there, want)
	if err != nil || same {
		return ref, err
	}
	if d.reads {
		d.differs = append(d.differs, fmt.Sprintf("a %s says something else, or is %s", kind, there.status))
		return ref, nil
	}
	return ref, d.update(ctx, there, merged)
}

func (d *delivery) known(kind, key string) (resource, bool) {
	for _, r := range d.ours {
		if r.kind == kind && r.has(identifier{flagSystem, key}) {
			return r, true
		}
	}
	return resource{}, false
}

// update writes the resource if it is still as it was read.
func (d *delivery) update(ctx context.Context, r resource, fields map[string]json.RawMessage) error {
	header := map[string]string{}
	if r.version != "" {
		header["If-Match"] = `W/"` + r.version + `"`
	}
	_, err := d.call(ctx, request{method: http.MethodPut, path: r.kind + "/" + r.id, body: fields, header: header,
		id: d.requestID("update", r.kind, r.id, r.version)}, nil)
	if err != nil {
		return fmt.Errorf("update %s: %w", r.kind, err)
	}
	d.changed++
	return nil
}

// release takes the alert off a resource; the last one makes it inactive.
func (d *delivery) release(ctx context.Context, r resource) error {
	if d.reads {
		d.differs = append(d.differs, fmt.Sprintf("a %s is there that should be gone", r.kind))
		return nil
	}
	var left []identifier
	others := false
	for _, i := range r.identifiers {
		if i == (identifier{alertSystem, string(d.alert.ID)}) {
			continue
		}
		others = others || i.System == alertSystem
		left = append(left, i)
	}
	fields := map[string]json.RawMessage{}
	for k, v := range r.fields {
		fields[k] = v
	}
	set := func(field string, v any) (err error) {
		fields[field], err = json.Marshal(v)
		return err
	}
	err := set("identifier", left)
	if len(left) == 0 {
		delete(fields, "identifier") // FHIR has no null
	}
	if !others {
		inactive := map[string]string{"Flag": "inactive", "CarePlan": "revoked", "CareTeam": "inactive"}[r.kind]
		err = errors.Join(err, set("status", inactive))
		if r.kind == "Flag" {
			var p period
			_ = json.Unmarshal(r.fields["period"], &p) // there may be none
			p.End = instant(d.alert.Decided)
			if p.Start > p.End {
				p.Start = p.End
			}
			err = errors.Join(err, set("period", p))
		}
	}
	if err != nil {
		return err
	}
	return d.update(ctx, r, fields)
}

// merge is what is there with what is wanted, and whether that changes anything.
// Other alerts stay on it, and so does when it began.
func merge(there resource, want any) (same bool, fields map[string]json.RawMessage, err error) {
	raw, err := json.Marshal(want)
	if err != nil {
		return false, nil, err
	}
	wanted, err := parseResource(raw)
	if err != nil {
		return false, nil, err
	}
	identifiers := there.identifiers
	for _, i := range wanted.identifiers {
		if !there.has(i) {
			identifiers = append(identifiers[:len(identifiers):len(identifiers)], i)
		}
	}
	if wanted.fields["identifier"], err = json.Marshal(identifiers); err != nil {
		return false, nil, err
	}
	if there.status == wanted.status && there.kind == "Flag" && there.fields["period"] != nil {
		wanted.fields["period"] = there.fields["period"]
	}
	delete(wanted.fields, "meta") // versions and tags are the server's
	same = true
	fields = map[string]json.RawMessage{}
	for k, v := range there.fields {
		fields[k] = v
	}
	for k, v := range wanted.fields {
		if !equal(fields[k], v) {
			same = false
		}
		fields[k] = v
	}
	return same, fields, nil
}

// equal compares as JSON.
func equal(a, b json.RawMessage) bool {
	if bytes.Equal(a, b) {
		return true
	}
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

// Check asks the server what it can, and says what that means for alerts.
func (s *Sink) Check(ctx context.Context) (notes []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	var c struct {
		ResourceType string `json:"resourceType"`
		FHIRVersion  string `json:"fhirVersion"`
		Rest         []struct {
			Resource []struct {
				Type              string `json:"type"`
				ConditionalCreate bool   `json:"conditionalCreate"`
				Versioning        string `json:"versioning"`
				Interaction       []struct {
					Code string `json:"code"`
				} `json:"interaction"`
			} `json:"resource"`
		} `json:"rest"`
	}
	if _, err := s.call(ctx, request{method: http.MethodGet, path: "metadata", id: uuid("check", "metadata")}, &c); err != nil {
		return nil, fmt.Errorf("read metadata: %w", err)
	}
	if c.ResourceType != "CapabilityStatement" {
		return nil, errors.New("read metadata: not a CapabilityStatement")
	}
	if !strings.HasPrefix(c.FHIRVersion, "4.0") {
		notes = append(notes, fmt.Sprintf("speaks FHIR %s, want 4.0", c.FHIRVersion))
	}
	offered := map[string]bool{}
	for _, rest := range c.Rest {
		for _, r := range rest.Resource {
			offered[r.Type] = true
			for _, i := range r.Interaction {
				offered[r.Type+" "+i.Code] = true
			}
			offered[r.Type+" conditional create"] = r.ConditionalCreate
			offered[r.Type+" versions"] = r.Versioning == "versioned-update"
		}
	}
	for _, kind := range s.kinds() {
		for _, need := range []string{"create", "update", "search-type", "conditional create"} {
			if !offered[kind+" "+need] {
				notes = append(notes, fmt.Sprintf("does not offer %s of %s", need, kind))
			}
		}
	}
	if s.config.NHSSystem != "" {
		form := url.Values{"identifier": {s.config.NHSSystem + "|" + safeguard.TestPatient.Reveal()}}
		_, err := s.call(ctx, request{method: http.MethodPost, path: "Patient/_search", form: form, id: uuid("check", "patient")}, nil)
		if refused := (*refusal)(nil); errors.As(err, &refused) && unsupported(refused.status) {
			note := "has no POST Patient/_search: patients are found by hospital number only, as an NHS number goes into no address"
			if s.config.MRNSystem == "" {
				note = "has no POST Patient/_search, and hospital_number_system is not set: no patient can be found"
			}
			notes = append(notes, note)
		} else if err != nil {
			return notes, fmt.Errorf("find test patient: %w", err)
		}
	}
	return notes, nil
}
