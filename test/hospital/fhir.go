package hospital

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
)

// FHIR is an electronic patient record that takes FHIR R4: it finds patients by
// identifier and only by POST Patient/_search, searches by identifier, creates with
// If-None-Exist and updates with If-Match. It serves paths behind /fhir/.
type FHIR struct {
	mu        sync.Mutex // guards the fields below
	resources map[string]map[string]any
	next      int
	noSearch  bool
	conflicts int
}

// NewFHIR is an EPR without patients.
func NewFHIR() *FHIR { return &FHIR{resources: map[string]map[string]any{}} }

// Patient adds a patient, or replaces one; born as 2018-11-02.
func (f *FHIR) Patient(id, nhs, mrn, born string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.resources["Patient/"+id] = map[string]any{"resourceType": "Patient", "id": id, "active": true, "birthDate": born, "identifier": []any{
		map[string]any{"system": "https://fhir.nhs.uk/Id/nhs-number", "value": nhs}, map[string]any{"system": "urn:mrn", "value": mrn}}}
}

// Searching gives or takes away POST Patient/_search, which a new EPR has.
func (f *FHIR) Searching(can bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.noSearch = !can
}

// Conflict has the next update meet somebody else's.
func (f *FHIR) Conflict() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.conflicts++
}

// All are the resources of that kind.
func (f *FHIR) All(kind string) (out []map[string]any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for key, r := range f.resources {
		if strings.HasPrefix(key, kind+"/") {
			out = append(out, r)
		}
	}
	return out
}

// Put puts a resource there, whatever was there before.
func (f *FHIR) Put(key string, r map[string]any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.resources[key] = r
}

// Showing is how many Flags are active.
func (f *FHIR) Showing() (n int) {
	for _, flag := range f.All("Flag") {
		if flag["status"] == "active" {
			n++
		}
	}
	return n
}

func (f *FHIR) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	status, out := f.Do(r, body)
	AnswerFHIR(w, status, out)
}

// Do does what the request says, and returns what is to be answered.
func (f *FHIR) Do(r *http.Request, body []byte) (status int, out map[string]any) {
	path := strings.TrimPrefix(r.URL.Path, "/fhir/")
	switch {
	case path == "metadata":
		return http.StatusOK, capabilities()
	case path == "Patient/_search" && r.Method == http.MethodPost:
		f.mu.Lock()
		no := f.noSearch
		f.mu.Unlock()
		form, err := url.ParseQuery(string(body))
		if no || err != nil {
			return http.StatusMethodNotAllowed, Outcome("not-supported", "no such operation")
		}
		return f.search("Patient", form.Get("identifier"))
	case r.Method == http.MethodGet:
		return f.search(path, r.URL.Query().Get("identifier"))
	}
	var in map[string]any
	if err := json.Unmarshal(body, &in); err != nil {
		return http.StatusBadRequest, Outcome("invalid", "no JSON")
	}
	if r.Method == http.MethodPost {
		return f.create(path, r.Header.Get("If-None-Exist"), in)
	}
	return f.update(path, r.Header.Get("If-Match"), in)
}

func capabilities() map[string]any {
	var list []any
	for _, kind := range []string{"Flag", "CarePlan", "CareTeam"} {
		list = append(list, map[string]any{"type": kind, "conditionalCreate": true, "versioning": "versioned-update",
			"interaction": []any{map[string]any{"code": "create"}, map[string]any{"code": "update"}, map[string]any{"code": "search-type"}}})
	}
	return map[string]any{"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1", "rest": []any{map[string]any{"resource": list}}}
}

// search finds by SYSTEM|VALUE, and by SYSTEM| everything of the system.
func (f *FHIR) search(kind, token string) (int, map[string]any) {
	system, value, _ := strings.Cut(token, "|")
	entries := []any{}
	for _, r := range f.All(kind) {
		if has(r, system, value) {
			entries = append(entries, map[string]any{"resource": r})
		}
	}
	return http.StatusOK, map[string]any{"resourceType": "Bundle", "type": "searchset", "total": len(entries), "entry": entries}
}

func has(r map[string]any, system, value string) bool {
	list, _ := r["identifier"].([]any)
	for _, i := range list {
		if m := i.(map[string]any); m["system"] == system && (value == "" || m["value"] == value) {
			return true
		}
	}
	return false
}

func (f *FHIR) create(kind, unless string, in map[string]any) (int, map[string]any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if condition, err := url.ParseQuery(unless); err == nil && condition.Get("identifier") != "" {
		system, value, _ := strings.Cut(condition.Get("identifier"), "|")
		for key, there := range f.resources {
			if strings.HasPrefix(key, kind+"/") && has(there, system, value) {
				return http.StatusOK, there
			}
		}
	}
	f.next++
	in["id"] = strconv.Itoa(f.next)
	in["meta"] = map[string]any{"versionId": "1"}
	f.resources[kind+"/"+strconv.Itoa(f.next)] = in
	return http.StatusCreated, in
}

func (f *FHIR) update(key, match string, in map[string]any) (int, map[string]any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	there := f.resources[key]
	if there == nil {
		return http.StatusNotFound, Outcome("not-found", "nothing there")
	}
	meta, _ := there["meta"].(map[string]any)
	version, _ := strconv.Atoi(fmt.Sprint(meta["versionId"]))
	if f.conflicts > 0 {
		f.conflicts--
		version++
		there["meta"] = map[string]any{"versionId": strconv.Itoa(version)}
	}
	if match != fmt.Sprintf(`W/"%d"`, version) {
		return http.StatusPreconditionFailed, Outcome("conflict", "somebody else was here")
	}
	in["meta"] = map[string]any{"versionId": strconv.Itoa(version + 1)}
	f.resources[key] = in
	return http.StatusOK, in
}

// AnswerFHIR writes a resource.
func AnswerFHIR(w http.ResponseWriter, status int, resource map[string]any) {
	w.Header().Set("Content-Type", "application/fhir+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(resource)
}

// Outcome is an OperationOutcome.
func Outcome(code, text string) map[string]any {
	return map[string]any{"resourceType": "OperationOutcome", "issue": []any{map[string]any{"severity": "error", "code": code, "diagnostics": text}}}
}
