// Package id holds the identifiers of the API: UUIDs, one Go type for each kind of
// thing, so that swapped arguments do not compile. It knows nothing about the things.
package id

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
)

// ID is a UUID that names a thing of kind K. The zero ID names nothing.
type ID[K any] [16]byte

type (
	account       struct{}
	app           struct{}
	configuration struct{}
	device        struct{}
	event         struct{}
	installedApp  struct{}
	location      struct{}
	mode          struct{}
	profile       struct{}
	replay        struct{}
	room          struct{}
	scene         struct{}
	stream        struct{}
	subscription  struct{}
	token         struct{}
)

// The kinds of id that the API knows.
type (
	Account       = ID[account]
	App           = ID[app]
	Configuration = ID[configuration]
	Device        = ID[device]
	Event         = ID[event]
	InstalledApp  = ID[installedApp]
	Location      = ID[location]
	Mode          = ID[mode]
	Profile       = ID[profile]
	Replay        = ID[replay]
	Room          = ID[room]
	Scene         = ID[scene]
	Stream        = ID[stream]
	Subscription  = ID[subscription]
	Token         = ID[token]
)

// New returns a random (version 4) id.
func New[I ~[16]byte]() I {
	var u [16]byte
	rand.Read(u[:])
	return Shape[I](u)
}

// Shape returns the 16 bytes as a version 4 UUID: six bits are overwritten.
func Shape[I ~[16]byte](u [16]byte) I {
	u[6] = u[6]&0x0f | 0x40
	u[8] = u[8]&0x3f | 0x80
	return I(u)
}

// Parse reads the dashed form or the 32 bare hex digits, in either case.
func Parse[I ~[16]byte](s string) (I, error) {
	var zero, u I
	var text [32]byte // on the stack: a start parses millions
	switch {
	case len(s) == 36 && s[8] == '-' && s[13] == '-' && s[18] == '-' && s[23] == '-':
		copy(text[:8], s[:8])
		copy(text[8:12], s[9:13])
		copy(text[12:16], s[14:18])
		copy(text[16:20], s[19:23])
		copy(text[20:], s[24:])
	case len(s) == 32:
		copy(text[:], s)
	default:
		return zero, fmt.Errorf("%.60q is not a UUID (32 hex digits, with or without dashes)", s)
	}
	if _, err := hex.Decode(u[:], text[:]); err != nil {
		return zero, fmt.Errorf("%.60q is not a UUID (32 hex digits, with or without dashes)", s)
	}
	if u == zero {
		return zero, errors.New("the UUID of all zeros names nothing")
	}
	return u, nil
}

// String returns the dashed lower-case form.
func (i ID[K]) String() string {
	var b [36]byte
	i.encode(&b)
	return string(b[:])
}

// Append appends the dashed form.
func (i ID[K]) Append(b []byte) []byte {
	var text [36]byte
	i.encode(&text)
	return append(b, text[:]...)
}

func (i ID[K]) encode(b *[36]byte) {
	hex.Encode(b[0:8], i[0:4])
	b[8] = '-'
	hex.Encode(b[9:13], i[4:6])
	b[13] = '-'
	hex.Encode(b[14:18], i[6:8])
	b[18] = '-'
	hex.Encode(b[19:23], i[8:10])
	b[23] = '-'
	hex.Encode(b[24:36], i[10:16])
}

// IsZero reports whether i names nothing.
func (i ID[K]) IsZero() bool { return i == ID[K]{} }

// MarshalText writes the dashed form; a zero id is the empty text.
func (i ID[K]) MarshalText() ([]byte, error) {
	if i.IsZero() {
		return []byte{}, nil
	}
	var b [36]byte
	i.encode(&b)
	return b[:], nil
}

// UnmarshalText reads what [Parse] reads; empty text is the zero id.
func (i *ID[K]) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*i = ID[K]{}
		return nil
	}
	v, err := Parse[ID[K]](string(text))
	if err != nil {
		return err
	}
	*i = v
	return nil
}
