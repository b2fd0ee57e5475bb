package subscription

import (
	"fmt"

	"hark/internal/capability"
	"hark/internal/id"
	"hark/internal/packed"
)

// Subscriptions are packed in the records: a start reads millions.

// packedSubscriptions is the first byte of what EncodeRecords writes.
const packedSubscriptions = 1

// The bits of a packed subscription's second byte; its first is the number of its source.
const stateChangeOnly = 1 << 0

// EncodeRecords returns the form in which subscriptions of one installed app are kept.
func EncodeRecords(list []*Subscription) []byte {
	b := append(make([]byte, 0, 1+128*len(list)), packedSubscriptions)
	for _, s := range list {
		bits := byte(0)
		if s.StateChangeOnly {
			bits |= stateChangeOnly
		}
		b = append(b, s.Source.number(), bits)
		b = packed.AppendID(b, s.ID)
		b = packed.AppendID(b, s.Device)
		b = packed.AppendUint(b, s.From)
		b = packed.AppendUint(b, s.Until)
		for _, t := range [...]string{s.Component, s.Capability, s.Attribute, string(s.Value), string(s.modes), string(s.devices), s.Name()} {
			b = packed.AppendText(b, t)
		}
	}
	return b
}

// DecodeRecords reads what EncodeRecords wrote. Whose they are and where is the caller's to
// fill in.
func DecodeRecords(data []byte) (list []*Subscription, err error) {
	r := packed.NewReader(data)
	if kind := r.Byte(); kind != packedSubscriptions {
		return nil, fmt.Errorf("read subscriptions: they are of the unknown form %d", kind)
	}
	for r.More() {
		s, err := decodeRecord(r)
		if err != nil {
			return nil, fmt.Errorf("read subscription %s: %w", s.ID, err)
		}
		list = append(list, s)
	}
	if err := r.End(); err != nil {
		return nil, fmt.Errorf("read subscriptions: %w", err)
	}
	return list, nil
}

func decodeRecord(r *packed.Reader) (*Subscription, error) {
	source, bits := r.Byte(), r.Byte()
	f := &Filter{StateChangeOnly: bits&stateChangeOnly != 0}
	s := &Subscription{Filter: f, ID: packed.ID[id.Subscription](r), Device: packed.ID[id.Device](r), From: r.Uint(), Until: r.Uint()}
	f.Component, f.Capability, f.Attribute = r.Text(), r.Text(), r.Text()
	value := r.Text()
	f.modes, f.devices = packedIDs(r.Text()), packedIDs(r.Text())
	s.setName(r.Text())
	switch {
	case int(source) >= len(sources) || bits&^stateChangeOnly != 0 || len(f.modes)%16 != 0 || len(f.devices)%16 != 0:
		return s, packed.ErrMalformed
	case s.ID.IsZero():
		return s, fmt.Errorf("it has no id")
	}
	f.Source = sources[source].source
	if value == "" {
		return s, nil
	}
	var err error
	f.Value, err = capability.ParseValue([]byte(value))
	return s, err
}

// number returns the source type's place among all.
func (t SourceType) number() byte {
	for i := range sources {
		if sources[i].source == t {
			return byte(i)
		}
	}
	return byte(len(sources))
}
