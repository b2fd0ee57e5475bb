package event

import (
	"encoding/binary"
	"errors"
	"time"

	"hark/internal/capability"
	"hark/internal/id"
)

// Reports of devices are nearly all that a journal holds, so they are packed: a third of the size
// of their JSON, and a tenth of the time to read. Ids come first, then the time, then texts, each after its
// length.
const (
	packed      = 1 // the first byte; JSON begins with a brace
	packedHead  = 2 + 5*16
	stateChange = 1 << 0 // a bit of the second byte
)

var errPacked = errors.New("a packed report is cut off, or has something left over")

// texts are a report's texts in the order in which they are packed.
func (e *Event) texts() [8]string {
	r := e.Device
	return [8]string{r.Component, r.Capability, r.Attribute, string(r.Value), r.Unit, string(r.Data), r.CommandID, e.Trace}
}

func (e *Event) pack() []byte {
	texts := e.texts()
	size := packedHead + 2*binary.MaxVarintLen64
	for _, t := range texts {
		size += len(t) + 2
	}
	b := append(make([]byte, 0, size), packed, 0)
	if e.Device.StateChange {
		b[1] |= stateChange
	}
	for _, of := range [][16]byte{e.ID, e.Location, e.Mode, e.InstalledApp, e.Device.Device} {
		b = append(b, of[:]...)
	}
	b = binary.AppendVarint(b, e.Time.Unix())
	b = binary.AppendUvarint(b, uint64(e.Time.Nanosecond()))
	for _, t := range texts {
		b = append(binary.AppendUvarint(b, uint64(len(t))), t...)
	}
	return b
}

func unpack(data []byte) (*Event, error) {
	if len(data) < packedHead || data[1]&^stateChange != 0 {
		return nil, errPacked
	}
	var ids [5][16]byte
	for i := range ids {
		copy(ids[i][:], data[2+16*i:])
	}
	rest := data[packedHead:]
	seconds, n := binary.Varint(rest)
	if n <= 0 {
		return nil, errPacked
	}
	rest = rest[n:]
	nanoseconds, n := binary.Uvarint(rest)
	if n <= 0 || nanoseconds >= uint64(time.Second) {
		return nil, errPacked
	}
	all := string(rest[n:]) // of which the texts are parts
	var texts [8]string
	for i := range texts {
		length, n := uvarint(all)
		if n <= 0 || length > uint64(len(all)-n) {
			return nil, errPacked
		}
		texts[i], all = all[n:n+int(length)], all[n+int(length):]
	}
	if all != "" {
		return nil, errPacked
	}
	value, err := canonical(texts[3])
	if err != nil {
		return nil, err
	}
	content, err := canonical(texts[5])
	if err != nil {
		return nil, err
	}
	return &Event{
		ID: id.Event(ids[0]), Type: DeviceEvent, Time: time.Unix(seconds, int64(nanoseconds)).UTC(), Location: id.Location(ids[1]), Mode: id.Mode(ids[2]),
		InstalledApp: id.InstalledApp(ids[3]), Trace: texts[7],
		Device: &Report{
			Device: id.Device(ids[4]), Component: texts[0], Capability: texts[1], Attribute: texts[2], Value: value, Unit: texts[4], Data: content,
			StateChange: data[1]&stateChange != 0, CommandID: texts[6],
		},
	}, nil
}

// uvarint is binary.Uvarint for text.
func uvarint(s string) (v uint64, n int) {
	for i := range min(len(s), binary.MaxVarintLen64) {
		v |= uint64(s[i]&0x7f) << (7 * i)
		if s[i] < 0x80 {
			return v, i + 1
		}
	}
	return 0, 0
}

func canonical(text string) (capability.Value, error) {
	if text == "" {
		return "", nil
	}
	return capability.ParseValue([]byte(text))
}
