// Package records keeps the newest value of each key, durably: apps, installed apps,
// subscriptions, devices, cursors. All are loaded into memory at start. An owner changes its
// memory and queues the change under one lock, so that both have one order, and acknowledges
// it once it is durable.
package records

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
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

// Stalled returns why queued changes are not durable yet, while that is tried again.
func (s *Store) Stalled() error { return s.stream.Stalled() }

// Write is one change: a new value for a record, or its end when Value is nil.
type Write struct {
	Kind  string // such as "device"; of letters
	ID    string // of letters, digits, "-", and "." between parts
	Value any    // marshalled as JSON; nil deletes the record
}

// markerTTL is how long the mark of a deleted record stays. The mark replaces the record;
// it can go once no older copy of the record can come back.
const markerTTL = 24 * time.Hour

// Queue hands over the changes in the order of its calls, and returns at once; wait returns
// when they are durable. Up to [engine.MaxAppend] changes are made all or none, more in
// several steps, in order.
func (s *Store) Queue(writes ...Write) (wait func(context.Context) error, err error) {
	steps := (len(writes) + engine.MaxAppend - 1) / engine.MaxAppend
	results := make(chan error, steps)
	for chunk := range slices.Chunk(writes, engine.MaxAppend) {
		entries := make([]engine.Entry, len(chunk))
		for i, w := range chunk {
			if entries[i], err = w.entry(); err != nil {
				return nil, err
			}
		}
		if _, err := s.stream.Append(entries, true, func(err error) { results <- err }); err != nil {
			return nil, fmt.Errorf("write records: %w", err)
		}
	}
	return func(ctx context.Context) error {
		for range steps {
			select {
			case err := <-results:
				if err != nil {
					return fmt.Errorf("write records: %w", err)
				}
			case <-ctx.Done():
				return fmt.Errorf("write records: %w", ctx.Err())
			}
		}
		return nil
	}, nil
}

// Write queues the changes and waits until they are durable.
func (s *Store) Write(ctx context.Context, writes ...Write) error {
	wait, err := s.Queue(writes...)
	if err != nil {
		return err
	}
	return wait(ctx)
}

func (w Write) entry() (engine.Entry, error) {
	e := engine.Entry{Key: w.Kind + "." + w.ID}
	if w.Value == nil {
		e.TTL = markerTTL
		return e, nil
	}
	var err error
	if e.Data, err = json.Marshal(w.Value); err != nil {
		return e, fmt.Errorf("write record %s: %w", e.Key, err)
	}
	return e, nil
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
