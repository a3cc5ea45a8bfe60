package epr

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/hl7adapter/mqtt"
)

// MQTTConfig is an EPR, or its integration engine, that takes messages from a
// broker.
type MQTTConfig struct {
	Broker mqtt.Broker `yaml:"broker"`
	// Topic is where alerts are published. It may have {site} and, where alerts
	// are retained, must have {token}: a name for the alert that says nothing
	// about the patient.
	Topic    string `yaml:"topic"`
	Retained bool   `yaml:"retained"` // the broker keeps the last version, until it is withdrawn
}

// DefaultMQTTConfig lacks the broker's address and our client id.
func DefaultMQTTConfig() MQTTConfig {
	return MQTTConfig{Broker: mqtt.DefaultBroker(), Topic: "safeguard/{site}/alerts"}
}

// Validate names the first key that is wrong.
func (c MQTTConfig) Validate() error {
	if err := c.Broker.Validate(); err != nil {
		return fmt.Errorf("broker: %w", err)
	}
	pieces, err := parsePieces(c.Topic)
	if err != nil {
		return fmt.Errorf("topic: %q: %w", c.Topic, err)
	}
	token := false
	for _, p := range pieces {
		switch p.name {
		case "", "site":
		case "token":
			token = true
		default:
			return fmt.Errorf("topic: {%s}: want {site} or {token}: a topic tells nothing about a patient", p.name)
		}
	}
	switch {
	case !mqtt.ValidTopic(topic(c.Topic, Sample(safeguard.Raise, safeguard.FlagsHeld))):
		return fmt.Errorf("topic: %q, want one without wildcards, such as safeguard/{site}/alerts", c.Topic)
	case c.Retained && !token:
		return errors.New("retained: want {token} in topic: a message kept for a place would be read as being about whoever is there next")
	}
	return nil
}

// MQTT is a sink that publishes each message with QoS 1, the next one only when
// the broker has confirmed it. Make one with NewMQTT.
type MQTT struct {
	format    *Format
	config    MQTTConfig
	publisher *mqtt.Publisher
}

// NewMQTT makes a sink. It connects when there is something to send.
func NewMQTT(f *Format, c MQTTConfig) (*MQTT, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	p, err := mqtt.NewPublisher(c.Broker)
	if err != nil {
		return nil, err
	}
	return &MQTT{f, c, p}, nil
}

// Preview is what would be sent for the alert.
func (s *MQTT) Preview(a safeguard.Alert) (string, error) { return s.format.Preview(a) }

// Name is the sink's name.
func (s *MQTT) Name() string { return s.format.Sink }

// Carrier is mqtt.
func (s *MQTT) Carrier() string { return "mqtt" }

// Close ends the connection.
func (s *MQTT) Close() error { return s.publisher.Close() }

// Deliver publishes the alert and waits for the broker's word. A retained one is
// cleared by its withdrawal, after those who listen have heard of it.
func (s *MQTT) Deliver(ctx context.Context, a safeguard.Alert) (safeguard.Receipt, error) {
	message, err := s.format.Message(a)
	if err != nil {
		return safeguard.Receipt{}, err
	}
	to := topic(s.config.Topic, a)
	retained := s.config.Retained && a.Action != safeguard.Withdraw
	if err := s.publisher.Publish(ctx, to, message, retained); err != nil {
		return safeguard.Receipt{}, err
	}
	if s.config.Retained && !retained {
		if err := s.publisher.Publish(ctx, to, nil, true); err != nil {
			return safeguard.Receipt{}, err
		}
	}
	return safeguard.Receipt{Outcome: safeguard.Delivered, Code: "PUBACK", At: time.Now()}, nil
}

// topic is where the alert is published.
func topic(form string, a safeguard.Alert) string {
	site := strings.ToUpper(a.Attendance.Site.String())
	if site == "" {
		site = a.Attendance.Organisation.String()
	}
	return fill(form, fact{"site", site}, fact{"token", strings.ToLower(alertKey(a.ID))})
}
