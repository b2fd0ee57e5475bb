// Package records keeps the newest value of each key, durably: apps, installed apps,
// subscriptions, devices, cursors. All are loaded into memory at start and written first,
// applied to memory afterwards.
package records

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"hark/internal/engine"
)

// Store is a set of records with one writer.
type Store struct{ stream *engine.Stream }

// Open opens the named store, fencing whoever had it open before.
func Open(ctx context.Context, e *engine.Engine, name string) (*Store, error) {
	s, err := e.OpenStream(ctx, engine.StreamConfig{
		Name: "HARK_" + strings.ToUpper(name) + "_RECORDS", Prefix: "hark." + name + ".records", LastPerSubject: true,
	})
	if err != nil {
		return nil, fmt.Errorf("open records: %w", err)
	}
	return &Store{s}, nil
}

// Close waits until what was written is durable.
func (s *Store) Close() { s.stream.Close() }

// Err returns why the store takes no more writes, nil while it does.
func (s *Store) Err() error { return s.stream.Err() }

// Write is one change: a new value for a record, or its end when Value is nil.
type Write struct {
	Kind  string // such as "device"; of letters
	ID    string // of letters, digits, "-", and "." between parts
	Value any    // marshalled as JSON; nil deletes the record
}

// markerTTL is how long the mark of a deleted record stays. The mark replaces the record;
// it can go once no older copy of the record can come back.
const markerTTL = 24 * time.Hour

// Write makes the changes durable: up to [engine.MaxAppend] of them all or none, more in
// several steps, in order.
func (s *Store) Write(ctx context.Context, writes ...Write) error {
	for len(writes) > 0 {
		n := min(len(writes), engine.MaxAppend)
		entries := make([]engine.Entry, n)
		for i, w := range writes[:n] {
			entries[i] = engine.Entry{Key: w.Kind + "." + w.ID, TTL: markerTTL}
			if w.Value == nil {
				continue
			}
			data, err := json.Marshal(w.Value)
			if err != nil {
				return fmt.Errorf("write record %s.%s: %w", w.Kind, w.ID, err)
			}
			entries[i].Data, entries[i].TTL = data, 0
		}
		if _, err := s.stream.AppendWait(ctx, entries...); err != nil {
			return fmt.Errorf("write records: %w", err)
		}
		writes = writes[n:]
	}
	return nil
}

// Load calls fn with every record, in the order in which they were last written.
func (s *Store) Load(ctx context.Context, fn func(kind, id string, data []byte) error) error {
	return s.stream.Scan(ctx, 1, func(m engine.Message) error {
		if len(m.Data) == 0 { // the mark of a deleted record
			return nil
		}
		kind, id, _ := strings.Cut(m.Key, ".")
		return fn(kind, id, m.Data)
	})
}
