// Package packed writes and reads values one after the other, without names, for what there are
// millions of: reports in the journal, subscriptions in the records. What they mean is for who
// writes them. All else that is kept is JSON.
package packed

import (
	"encoding/binary"
	"errors"
)

// ErrMalformed says that what is read was not written so.
var ErrMalformed = errors.New("packed data is cut off, or has something left over")

// AppendID appends an id, as its 16 bytes.
func AppendID[I ~[16]byte](b []byte, id I) []byte {
	raw := [16]byte(id)
	return append(b, raw[:]...)
}

// AppendUint appends a number, small ones in few bytes.
func AppendUint(b []byte, v uint64) []byte { return binary.AppendUvarint(b, v) }

// AppendInt appends a number that may be negative.
func AppendInt(b []byte, v int64) []byte { return binary.AppendVarint(b, v) }

// AppendText appends a text of any bytes, after its length.
func AppendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// Reader reads in the order of writing. After an error it reads zeros.
type Reader struct {
	rest string
	err  error
}

// NewReader reads the data. Texts that it returns are parts of one copy of it.
func NewReader(data []byte) *Reader { return &Reader{rest: string(data)} }

// take returns the next n bytes.
func (r *Reader) take(n uint64) string {
	if n > uint64(len(r.rest)) {
		r.rest, r.err = "", ErrMalformed
		return ""
	}
	taken := r.rest[:n]
	r.rest = r.rest[n:]
	return taken
}

// Byte reads one byte.
func (r *Reader) Byte() byte {
	if b := r.take(1); b != "" {
		return b[0]
	}
	return 0
}

// ID reads an id.
func ID[I ~[16]byte](r *Reader) (id I) {
	if raw := r.take(16); raw != "" {
		id = I([]byte(raw))
	}
	return id
}

// Uint reads a number.
func (r *Reader) Uint() (v uint64) {
	for shift := 0; shift < 64; shift += 7 {
		b := r.Byte()
		if v |= uint64(b&0x7f) << shift; b < 0x80 {
			return v
		}
	}
	r.rest, r.err = "", ErrMalformed
	return 0
}

// Int reads a number that may be negative.
func (r *Reader) Int() int64 {
	v := r.Uint()
	return int64(v>>1) ^ -int64(v&1)
}

// Text reads a text.
func (r *Reader) Text() string { return r.take(r.Uint()) }

// More reports whether something is left.
func (r *Reader) More() bool { return r.rest != "" }

// End reports what went wrong, or that something is left.
func (r *Reader) End() error {
	if r.More() {
		return ErrMalformed
	}
	return r.err
}
