package webhook

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/notice"
	"github.com/safeguard-edge/safeguard/central/store"
)

// follow sends what waits for one target, and what comes, until ctx ends.
func (s *Sender) follow(ctx context.Context, t *target) error {
	log := s.log.With("authority", t.Authority, "host", t.host)
	defer t.client.CloseIdleConnections()
	held := lease{Sender: s, name: "webhook " + t.Authority.String()}
	defer held.release()
	failures := 0
	for ctx.Err() == nil {
		pause := lookEvery
		switch sent, err := s.some(ctx, t, &held); {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			if failures++; failures == 1 {
				log.Warn("webhook failing, notifications wait", "err", err)
			}
			pause = pauseAfter(failures, err)
			held.release() // another process may have the better way there
		case sent > 0:
			if failures > 0 {
				log.Info("webhook works again", "failures", failures)
				failures = 0
			}
			pause = 0
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
	return nil
}

// some sends some of what waits, if this process is the one to do that.
func (s *Sender) some(ctx context.Context, t *target, held *lease) (sent int, err error) {
	if !s.may(t.Authority) {
		return 0, nil
	}
	list, err := s.queue.Waiting(ctx, t.Authority, 0, 1)
	if err != nil || len(list) == 0 {
		return 0, err
	}
	if mine, err := held.renew(ctx); err != nil || !mine {
		return 0, err
	}
	// Read again: another process may have sent some meanwhile.
	if list, err = s.queue.Waiting(ctx, t.Authority, 0, together); err != nil {
		return 0, err
	}
	for _, w := range list {
		if mine, err := held.renew(ctx); err != nil || !mine {
			return sent, err
		}
		if ctx.Err() != nil {
			return sent, ctx.Err()
		}
		if err := s.one(ctx, t, w); err != nil {
			return sent, err
		}
		sent++
	}
	return sent, nil
}

// one sends and notes one. A stop lets it finish, for else the receiver would get
// it twice.
func (s *Sender) one(ctx context.Context, t *target, w store.Waiting) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*requestTime)
	defer cancel()
	if err := t.send(ctx, w); err != nil {
		return err
	}
	_, err := s.queue.Acknowledge(ctx, t.Authority, []string{w.Notification.ID}, "webhook "+t.host, time.Now())
	return err
}

// lease is the right to send to one authority.
type lease struct {
	*Sender
	name  string
	until time.Time // by the clock of this process, reckoned from before it was asked for
}

// renew tells whether there is time for one request.
func (l *lease) renew(ctx context.Context) (bool, error) {
	if time.Until(l.until) > leaseTime/2 {
		return true, nil
	}
	asked := time.Now()
	mine, err := l.queue.Lease(ctx, l.name, l.holder, leaseTime)
	if l.until = (time.Time{}); mine && err == nil {
		l.until = asked.Add(leaseTime)
	}
	return mine, err
}

func (l *lease) release() {
	if l.until.IsZero() {
		return
	}
	l.until = time.Time{}
	ctx, cancel := context.WithTimeout(context.Background(), requestTime)
	defer cancel()
	_, _ = l.queue.Lease(ctx, l.name, l.holder, 0) // else it runs out by itself
}

// event is the body of a request (Standard Webhooks).
type event struct {
	Type      string              `json:"type"`
	Timestamp time.Time           `json:"timestamp"`
	Data      notice.Notification `json:"data"`
}

// The types.
const (
	notified  = "attendance.notified"
	corrected = "attendance.corrected"
	viewed    = "flags.viewed"
)

func (t *target) send(ctx context.Context, w store.Waiting) error {
	n := w.Notification
	e := event{Type: notified, Timestamp: n.Recorded.UTC(), Data: notice.Of(n)}
	switch {
	case n.Corrects != "":
		e.Type = corrected
	case n.Viewed:
		e.Type = viewed
	}
	body, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("write notification %s: %w", n.ID, err)
	}
	return t.post(ctx, n.ID, body)
}

// post makes one request. Its errors tell neither the address, which may hold a
// token, nor what the receiver said, which may be about a person.
func (t *target) post(ctx context.Context, id string, body []byte) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, t.URL, bytes.NewReader(body))
	if err != nil {
		return errors.New("request can not be made")
	}
	now := time.Now()
	var signatures []string
	for _, s := range t.signers {
		signature, err := s.Sign(id, now, body)
		if err != nil {
			return fmt.Errorf("sign: %w", err)
		}
		signatures = append(signatures, signature)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "safeguard-central")
	request.Header.Set("webhook-id", id)
	request.Header.Set("webhook-timestamp", strconv.FormatInt(now.Unix(), 10))
	request.Header.Set("webhook-signature", strings.Join(signatures, " "))
	response, err := t.client.Do(request)
	if err != nil {
		var about *url.Error
		if errors.As(err, &about) {
			err = about.Err
		}
		return fmt.Errorf("send: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10)) // so that the connection can be used again
	if response.StatusCode/100 == 2 {
		return nil
	}
	refused := &Refused{Status: response.StatusCode}
	if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil && seconds > 0 {
		refused.After = time.Duration(seconds) * time.Second
	}
	return refused
}

// Refused is what a receiver answers that does not take a notification. It is sent
// again all the same.
type Refused struct {
	Status int           // of HTTP
	After  time.Duration // what the receiver asks for; 0 when it does not
}

func (r *Refused) Error() string {
	return fmt.Sprintf("receiver answered %d %s, want 2xx", r.Status, http.StatusText(r.Status))
}

// pauseAfter so many failures, of which err is the last.
func pauseAfter(failures int, err error) time.Duration {
	pause := min(firstPause<<min(failures-1, 16), longPause)
	var refused *Refused
	if errors.As(err, &refused) {
		pause = max(pause, min(refused.After, maxPause))
	}
	return pause
}

const secretPrefix = "whsec_"

// NewSecret makes a secret.
func NewSecret() string {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // crypto/rand never fails
	return secretPrefix + base64.StdEncoding.EncodeToString(raw)
}

func keyOf(secret string) ([]byte, error) {
	text, ok := strings.CutPrefix(secret, secretPrefix)
	raw, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil || len(raw) < minSecret || len(raw) > maxSecret {
		return nil, fmt.Errorf("want %s and then the base64 of %d to %d random bytes", secretPrefix, minSecret, maxSecret)
	}
	return raw, nil
}

// Send makes one request with the body, under an id that is the same when it is
// sent again.
func (t Target) Send(ctx context.Context, id string, body []byte) error {
	made, err := newTarget(t)
	if err != nil {
		return err
	}
	defer made.client.CloseIdleConnections()
	return made.post(ctx, id, body)
}

// Test sends one request of the type test, about nobody, and gives what came of it.
func (t Target) Test(ctx context.Context) error {
	var id safeguard.AttendanceID // for the form of its text
	_, _ = rand.Read(id[:])
	body, err := json.Marshal(struct {
		Type      string    `json:"type"`
		Timestamp time.Time `json:"timestamp"`
		Data      struct{}  `json:"data"`
	}{Type: "test", Timestamp: time.Now().UTC()})
	if err != nil {
		return err
	}
	return t.Send(ctx, id.String(), body)
}
