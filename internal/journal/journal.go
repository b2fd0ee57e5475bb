// Package journal is the durable, ordered list of everything that happened in the locations
// of one shard. An event is in it once, however many apps want it.
package journal

import (
	"context"
	"fmt"
	"strings"
	"time"

	"hark/internal/engine"
	"hark/internal/event"
	"hark/internal/id"
)

// Config says how long events are kept.
type Config struct {
	MaxAge   time.Duration // 0 keeps them for ever
	MaxBytes int64         // 0 is no limit
}

// Journal is open for appending by one shard.
type Journal struct {
	stream *engine.Stream
	recent recent
}

// Open opens the shard's journal, fencing whoever had it open before.
func Open(ctx context.Context, e *engine.Engine, shard string, cfg Config) (*Journal, error) {
	s, err := e.OpenStream(ctx, engine.StreamConfig{
		Name: "HARK_" + strings.ToUpper(shard) + "_JOURNAL", Prefix: "hark." + shard + ".journal", MaxAge: cfg.MaxAge, MaxBytes: cfg.MaxBytes,
	})
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	return &Journal{stream: s}, nil
}

// Close waits until what was appended is durable.
func (j *Journal) Close() { j.stream.Close() }

// Append queues the events and sets their positions. Done is called once all are durable,
// in the order of positions; it must not block.
func (j *Journal) Append(events []*event.Event, done func(error)) error {
	entries := make([]engine.Entry, len(events))
	now := time.Now()
	for i, e := range events {
		entries[i] = engine.Entry{Key: e.Location.String() + "." + string(e.Type), Data: e.Encode()}
	}
	first, err := j.stream.Append(entries, false, done)
	if err != nil {
		return fmt.Errorf("append to journal: %w", err)
	}
	for i, e := range events {
		e.Seq, e.Taken = first+uint64(i), now
	}
	return nil
}

// Last returns the position of the last event appended, durable or not.
func (j *Journal) Last() uint64 { return j.stream.Next() - 1 }

// Committed returns the position up to which all events are durable.
func (j *Journal) Committed() uint64 { return j.stream.Committed() }

// First returns the position of the oldest event kept.
func (j *Journal) First(ctx context.Context) (uint64, error) { return j.stream.First(ctx) }

// Err returns why the journal takes no more events, nil while it does.
func (j *Journal) Err() error { return j.stream.Err() }

// Stalled returns why appended events are not durable yet, while that is tried again.
func (j *Journal) Stalled() error { return j.stream.Stalled() }

// Read returns up to limit durable events of the location after the position, in order. The list
// is shared, and must not be changed.
func (j *Journal) Read(ctx context.Context, location id.Location, after uint64, limit int) ([]*event.Event, error) {
	if events := j.recent.find(location, after, limit); len(events) > 0 {
		return events, nil
	}
	events, _, err := j.read(ctx, location.String()+".>", after, limit)
	if err == nil {
		j.recent.add(location, after, events)
	}
	return events, err
}

// ReadAll is Read for all locations. It also returns the position up to which it looked: when
// that is after itself, the engine shows nothing more yet.
func (j *Journal) ReadAll(ctx context.Context, after uint64, limit int) (events []*event.Event, through uint64, err error) {
	return j.read(ctx, ">", after, limit)
}

func (j *Journal) read(ctx context.Context, filter string, after uint64, limit int) (events []*event.Event, through uint64, err error) {
	messages, next, err := j.stream.Read(ctx, after+1, filter, limit)
	if err != nil {
		return nil, after, err
	}
	events = make([]*event.Event, 0, len(messages))
	for _, m := range messages {
		e, err := decode(m)
		if err != nil {
			return nil, after, err
		}
		events = append(events, e)
	}
	return events, next - 1, nil
}

// Find returns the event with the id, if it is among the newest ones: so many positions are
// looked at.
func (j *Journal) Find(ctx context.Context, want id.Event, newest uint64) (*event.Event, bool, error) {
	last := j.Committed()
	for after := last - min(last, newest); after < last; {
		events, through, err := j.ReadAll(ctx, after, findBatch)
		if err != nil || through == after {
			return nil, false, err
		}
		for _, e := range events {
			if e.ID == want {
				return e, true, nil
			}
		}
		after = through
	}
	return nil, false, nil
}

const findBatch = 1000

// Scan calls fn with every event after the position that was there when the journal was
// opened.
func (j *Journal) Scan(ctx context.Context, after uint64, fn func(*event.Event) error) error {
	return j.stream.Scan(ctx, after+1, func(m engine.Message) error {
		e, err := decode(m)
		if err != nil {
			return err
		}
		return fn(e)
	})
}

func decode(m engine.Message) (*event.Event, error) {
	e, err := event.Decode(m.Data)
	if err != nil {
		return nil, fmt.Errorf("journal position %d: %w", m.Seq, err)
	}
	e.Seq, e.Taken = m.Seq, m.Time
	return e, nil
}
