package safeguard

import (
	"fmt"
	"io"
	"log/slog"
	"unique"
)

// masked stands wherever a private value is printed.
const masked = "[private]"

// Private holds a value about a person that must not be printed by accident: a
// name, a hospital number, a date of birth. Values are compared with ==. Only
// Reveal gives the value; every other way of printing or encoding shows a mask,
// also from inside an unexported field, where fmt calls no methods: the value
// lies behind a pointer to an interface, the one kind of pointer that fmt never
// follows.
type Private[T comparable] struct {
	handle unique.Handle[any]
}

// Hide makes v private. Hiding the zero value gives the zero Private.
func Hide[T comparable](v T) Private[T] {
	var zero T
	if v == zero {
		return Private[T]{}
	}
	return Private[T]{unique.Make[any](v)}
}

// Reveal gives the value.
func (p Private[T]) Reveal() T {
	if p.IsZero() {
		var zero T
		return zero
	}
	return p.handle.Value().(T)
}

// IsZero tells whether nothing is held.
func (p Private[T]) IsZero() bool { return p == Private[T]{} }

// String masks the value.
func (p Private[T]) String() string {
	if p.IsZero() {
		return ""
	}
	return masked
}

// Format masks the value for every verb and flag.
func (p Private[T]) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, p.String()) }

// LogValue masks the value.
func (p Private[T]) LogValue() slog.Value { return slog.StringValue(p.String()) }

// MarshalText masks the value, so that JSON, XML and YAML show the mask.
func (p Private[T]) MarshalText() ([]byte, error) { return []byte(p.String()), nil }
