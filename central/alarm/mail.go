package alarm

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/wneessen/go-mail"

	"github.com/safeguard-edge/safeguard"
)

// Mail carries messages by SMTP (RFC 5321), with STARTTLS (RFC 3207).
type Mail struct {
	Host     string
	Port     int
	User     string // empty for no authentication
	Password string
	From     string
	To       []string
	CA       *x509.CertPool // who vouches for the server; nil for whom the system trusts
}

// Check tells what is wrong with it.
func (m Mail) Check() error {
	if m.Host == "" || m.Port <= 0 || len(m.To) == 0 {
		return errors.New("want server as host:port, and to, at least one address")
	}
	_, err := m.message(Message{At: time.Unix(0, 0)})
	return err
}

// Carry implements Carrier. It does not send without encryption.
func (m Mail) Carry(ctx context.Context, message Message) error {
	letter, err := m.message(message)
	if err != nil {
		return err
	}
	options := []mail.Option{
		mail.WithPort(m.Port), mail.WithTLSPolicy(mail.TLSMandatory), mail.WithTimeout(carryTime / 2),
		mail.WithTLSConfig(&tls.Config{ServerName: m.Host, MinVersion: tls.VersionTLS12, RootCAs: m.CA}),
	}
	if m.User != "" {
		options = append(options, mail.WithSMTPAuth(mail.SMTPAuthAutoDiscover), mail.WithUsername(m.User), mail.WithPassword(m.Password))
	}
	client, err := mail.NewClient(m.Host, options...)
	if err != nil {
		return fmt.Errorf("mail server: %w", err)
	}
	if err := client.DialAndSendWithContext(ctx, letter); err != nil {
		return fmt.Errorf("send mail: %w", err)
	}
	return nil
}

func (m Mail) message(message Message) (*mail.Msg, error) {
	out := mail.NewMsg()
	if err := out.From(m.From); err != nil {
		return nil, fmt.Errorf("from: %q, want an address such as safeguard@example.nhs.uk", m.From)
	}
	if err := out.To(m.To...); err != nil {
		return nil, fmt.Errorf("to: %q, want addresses such as on-call@example.nhs.uk", m.To)
	}
	domain := "safeguard"
	if _, after, ok := strings.Cut(m.From, "@"); ok {
		domain = strings.Trim(after, "> ")
	}
	out.SetMessageIDWithValue(message.ID + "@" + domain)
	out.SetDateWithValue(message.At)
	out.Subject(subject(message))
	out.SetGenHeader("Auto-Submitted", "auto-generated")
	out.SetBodyString(mail.TypeTextPlain, text(message))
	return out, nil
}

func subject(m Message) string {
	open, closed, worst := 0, 0, safeguard.NoSeverity
	for _, w := range m.Warnings {
		if w.Closed.IsZero() {
			open++
			worst = max(worst, w.Code.Declared().Severity)
		} else {
			closed++
		}
	}
	switch {
	case len(m.Warnings) == 1:
		return "Safeguard: " + Line(m.Warnings[0])
	case open == 0:
		return fmt.Sprintf("Safeguard: %d warnings closed", closed)
	}
	return fmt.Sprintf("Safeguard: warnings: %d opened, %d closed, the worst %s", open, closed, worst)
}

func text(m Message) string {
	var b strings.Builder
	for _, w := range m.Warnings {
		fmt.Fprintf(&b, "%s\n", Line(w))
		if w.Closed.IsZero() {
			fmt.Fprintf(&b, "  since %s, warning %d\n  What to do: %s\n  %s\n", w.Since.UTC().Format("2006-01-02 15:04 UTC"), w.ID, w.Remedy(), w.Code.Declared().Runbook())
		} else {
			fmt.Fprintf(&b, "  closed %s, warning %d\n", w.Closed.UTC().Format("2006-01-02 15:04 UTC"), w.ID)
		}
		b.WriteString("\n")
	}
	b.WriteString("Nothing in this message is about a patient. safeguard-central fleet acknowledge NUMBER takes a warning on.\n")
	return b.String()
}
