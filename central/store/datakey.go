package store

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/safeguard-edge/safeguard"
)

// dataKey seals everything that is kept about one person. It lies with the
// person's row, wrapped by the ring: whoever deletes it has erased the person,
// also from what a disk or a dump still holds of the other rows.
type dataKey struct{ aead cipher.AEAD }

const (
	dataKeySize   = 32
	dataKeyFormat = 1 // AES-256-GCM, a random nonce in front; first byte of what is sealed
)

var errSealed = errors.New("sealed value refused: it was not sealed for this place, or has changed since")

func newDataKey(raw []byte) (dataKey, error) {
	block, err := aes.NewCipher(raw)
	if err != nil {
		return dataKey{}, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return dataKey{aead}, err
}

func (k dataKey) seal(plain, ad []byte) []byte {
	out := make([]byte, 1, 1+len(plain)+k.aead.Overhead())
	out[0] = dataKeyFormat
	return k.aead.Seal(out, nil, plain, ad)
}

func (k dataKey) open(sealed, ad []byte) ([]byte, error) {
	if len(sealed) == 0 || sealed[0] != dataKeyFormat {
		return nil, errSealed
	}
	plain, err := k.aead.Open(nil, nil, sealed[1:], ad)
	if err != nil {
		return nil, errSealed
	}
	return plain, nil
}

func personAD(person []byte) []byte { return key("person", string(person)) }

func personKeyAD(person []byte) []byte { return key("person key", string(person)) }

// unwrap gives a person's key.
func (v vault) unwrap(person, wrapped []byte) (dataKey, error) {
	raw, err := v.ring.Open(wrapped, personKeyAD(person))
	if err != nil {
		return dataKey{}, fmt.Errorf("person's key: %w", err)
	}
	k, err := newDataKey(raw)
	if err != nil {
		return dataKey{}, fmt.Errorf("person's key: %w", err)
	}
	return k, nil
}

// candidate is a row of persons for someone who may have none. Of several that
// are made at a time one comes to be the person's.
type candidate struct {
	person []byte
	key    []byte // wrapped
	number []byte // sealed under it
}

func (v vault) candidate(person []byte, number safeguard.NHSNumber) (candidate, error) {
	raw := make([]byte, dataKeySize)
	_, _ = rand.Read(raw) // crypto/rand never fails
	k, err := newDataKey(raw)
	if err != nil {
		return candidate{}, err
	}
	c := candidate{person: person}
	if c.key, err = v.ring.Seal(raw, personKeyAD(person)); err != nil {
		return candidate{}, err
	}
	c.number, err = k.sealJSON(number.Reveal(), personAD(person))
	return c, err
}
