// Package records keeps the newest value of each key, durably: apps, installed apps,
// subscriptions, devices, cursors. All are loaded into memory at start. An owner changes its
// memory and queues the change under one lock, so that both have one order, and acknowledges
// it once it is durable.
package records

import (
	"context"
	"encoding/json"
	"errors"
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
	Value any    // marshalled as JSON, but for [Raw]; nil deletes the record
	// Brief says that the mark of the deleted record may go after minutes, not an hour, since a copy
	// that came back would do no harm: such as one whose owner is gone, which whoever loads it leaves
	// out. Marks of things that come and go all the time take memory, and a start reads them.
	Brief bool
}

// Raw is a value that is kept as it is. An empty one would be no record.
type Raw []byte

// markerTTL is how long the mark of a deleted record stays. The mark replaces the record; it
// can go once no older copy of the record can come back, which is when the engine has written down
// what its files no longer mean: every two minutes, and at a close. The rest is for a machine that
// sleeps, or whose clock jumps, between a deletion and that.
const (
	markerTTL      = time.Hour
	briefMarkerTTL = 2 * time.Minute
)

// Queue hands over the changes in the order of its calls, and returns at once; done is called
// once they are durable, in that order too, and must not wait for another change. Up to
// [engine.MaxAppend] changes are made all or none, more in several steps, in order.
func (s *Store) Queue(done func(error), writes ...Write) error {
	if len(writes) == 0 {
		done(nil)
		return nil
	}
	entries := make([]engine.Entry, len(writes))
	for i, w := range writes {
		var err error
		if entries[i], err = w.entry(); err != nil {
			return err
		}
	}
	steps := (len(entries) + engine.MaxAppend - 1) / engine.MaxAppend
	var failure error
	for chunk := range slices.Chunk(entries, engine.MaxAppend) {
		_, err := s.stream.Append(chunk, true, func(err error) { // one after the other
			failure = errors.Join(failure, err)
			if steps--; steps == 0 {
				done(failure)
			}
		})
		if err != nil {
			return fmt.Errorf("write records: %w", err)
		}
	}
	return nil
}

// Write queues the changes and waits until they are durable.
func (s *Store) Write(ctx context.Context, writes ...Write) error {
	result := make(chan error, 1)
	if err := s.Queue(func(err error) { result <- err }, writes...); err != nil {
		return err
	}
	select {
	case err := <-result:
		if err != nil {
			return fmt.Errorf("write records: %w", err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("write records: %w", ctx.Err())
	}
}

func (w Write) entry() (engine.Entry, error) {
	e := engine.Entry{Key: w.Kind + "." + w.ID}
	if w.Value == nil {
		if e.TTL = markerTTL; w.Brief {
			e.TTL = briefMarkerTTL
		}
		return e, nil
	}
	if raw, ok := w.Value.(Raw); ok {
		e.Data = raw
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
