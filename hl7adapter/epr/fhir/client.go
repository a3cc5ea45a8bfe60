package fhir

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard/hl7adapter/epr"
)

// request is one call of the EPR.
type request struct {
	method, path string
	url          string     // instead of path: an address that the EPR gave
	form         url.Values // instead of body
	body         any
	header       map[string]string
	id           string // X-Request-ID, the same for a repeat
}

// refusal is a status that is no success.
type refusal struct {
	status int
	text   string // from the OperationOutcome; may hold anything, so it is not part of the error
}

func (r *refusal) Error() string { return fmt.Sprintf("the EPR answered %d", r.status) }

const longestAnswer = 4 << 20

// read asks the EPR for a Bundle.
func (s *Sink) read(ctx context.Context, r request) (b bundle, err error) {
	if _, err := s.call(ctx, r, &b); err != nil {
		return b, err
	}
	if b.ResourceType != "Bundle" {
		return b, errors.New("the answer is no Bundle")
	}
	return b, nil
}

// call asks the EPR, and reads the resource that it answers with, if there is one,
// into answer, which may be nil. An error that is no refusal means that it did not
// answer, or not in FHIR.
func (s *Sink) call(ctx context.Context, r request, answer any) (status int, err error) {
	if s.tokens == nil {
		return s.once(ctx, r, "", answer)
	}
	token, err := s.tokens.get(ctx)
	if err != nil {
		return 0, err
	}
	status, err = s.once(ctx, r, token, answer)
	if refused := (*refusal)(nil); !errors.As(err, &refused) || refused.status != http.StatusUnauthorized {
		return status, err
	}
	s.tokens.forget(token)
	if token, err = s.tokens.get(ctx); err != nil {
		return 0, err
	}
	return s.once(ctx, r, token, answer)
}

func (s *Sink) once(ctx context.Context, r request, token string, answer any) (status int, err error) {
	var body io.Reader
	kind := "application/fhir+json"
	switch {
	case r.form != nil:
		body, kind = strings.NewReader(r.form.Encode()), "application/x-www-form-urlencoded"
	case r.body != nil:
		raw, err := json.Marshal(r.body)
		if err != nil {
			return 0, err
		}
		body = bytes.NewReader(raw)
	}
	to, err := s.at(r)
	if err != nil {
		return 0, err
	}
	req, err := http.NewRequestWithContext(ctx, r.method, to, body)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Accept", "application/fhir+json")
	req.Header.Set("X-Request-ID", r.id)
	if body != nil {
		req.Header.Set("Content-Type", kind)
	}
	for k, v := range r.header {
		req.Header.Set(k, v)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := s.http.Do(req)
	if err != nil {
		return 0, bare(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, longestAnswer+1))
	switch {
	case err != nil:
		return 0, fmt.Errorf("read answer: %w", err)
	case len(raw) > longestAnswer:
		return 0, errors.New("read answer: too long")
	}
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return 0, refused(res, raw)
	}
	var any struct {
		ResourceType string `json:"resourceType"`
	}
	if answer == nil {
		answer = &any
	}
	if len(bytes.TrimSpace(raw)) > 0 && (json.Unmarshal(raw, answer) != nil || answer == &any && any.ResourceType == "") {
		return 0, fmt.Errorf("the EPR answered %d with something that is not FHIR", res.StatusCode)
	}
	return res.StatusCode, nil
}

// at is where a request goes. A token and patient data go to the EPR's own host, and
// to no other.
func (s *Sink) at(r request) (string, error) {
	base := strings.TrimSuffix(s.config.Base, "/") + "/"
	if r.url == "" {
		return base + r.path, nil
	}
	own, err := url.Parse(base)
	if err != nil {
		return "", err
	}
	to, err := own.Parse(r.url)
	if err != nil || to.Scheme != own.Scheme || to.Host != own.Host || to.User != nil {
		return "", errors.New("the EPR refers to another host than its own")
	}
	return to.String(), nil
}

// bare is err without the address, whose query may be long; who reads the error
// knows which sink it is.
func bare(err error) error {
	if u := (*url.Error)(nil); errors.As(err, &u) {
		return fmt.Errorf("%s: %w", strings.ToLower(u.Op), u.Err)
	}
	return err
}

// refused reads the OperationOutcome.
func refused(res *http.Response, raw []byte) error {
	r := &refusal{status: res.StatusCode}
	var o outcome
	if json.Unmarshal(raw, &o) == nil && o.ResourceType == "OperationOutcome" {
		var texts []string
		for _, i := range o.Issue {
			text := i.Details.Text
			if text == "" {
				text = i.Diagnostics
			}
			texts = append(texts, strings.TrimSpace(i.Code+" "+text))
		}
		r.text = strings.Join(texts, "; ")
	}
	if r.text == "" {
		r.text = http.StatusText(res.StatusCode)
	}
	if after := pauses(res); after > 0 {
		return &epr.Later{After: after, Err: r}
	}
	return r
}

// pauses is for how long the server wants to hear no more; 0 for no pause.
func pauses(res *http.Response) time.Duration {
	if res.StatusCode != http.StatusTooManyRequests && res.StatusCode != http.StatusServiceUnavailable {
		return 0
	}
	return retryAfter(res.Header.Get("Retry-After"))
}

// retryAfter reads seconds or a date (RFC 9110, 10.2.3).
func retryAfter(s string) time.Duration {
	if n, err := strconv.Atoi(strings.TrimSpace(s)); err == nil {
		return time.Duration(min(n, 24*3600)) * time.Second
	}
	if at, err := http.ParseTime(s); err == nil {
		return time.Until(at)
	}
	return 0
}
