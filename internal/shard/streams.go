package shard

import (
	"context"
	"fmt"
	"slices"
	"time"

	"hark/internal/event"
	"hark/internal/eventstream"
	"hark/internal/id"
	"hark/internal/limits"
	"hark/internal/problem"
	"hark/internal/records"
	"hark/internal/scope"
)

// CreateStream registers an event stream for the principal (reference 2.2).
func (s *Shard) CreateStream(ctx context.Context, p scope.Principal, draft eventstream.Registration) (*eventstream.Registration, error) {
	r := eventstream.New(p, draft)
	if err := mayShow(p, r); err != nil {
		return nil, err
	}
	return r, s.commit(ctx, func() ([]records.Write, error) {
		if err := s.roomForStream(p); err != nil {
			return nil, err
		}
		s.streams[r.ID] = r
		return []records.Write{{Kind: kindStream, ID: r.ID.String(), Value: r}}, nil
	})
}

// unclaimed is how long a stream that was registered, but never opened, counts towards the
// limit.
const unclaimed = 5 * time.Minute

// roomForStream reports that the principal has as many event streams as it may: open ones, and
// those that it can be about to open. A stream that is closed counts no more at once. The
// caller holds mu.
func (s *Shard) roomForStream(p scope.Principal) error {
	if s.limits.Streams == 0 {
		return nil
	}
	s.hub.Sweep()
	count := 0
	for stream, r := range s.streams {
		if r.BelongsTo(p) && (s.hub.IsOpen(stream) || time.Since(r.Created) < unclaimed && !s.hub.WasOpen(stream)) {
			count++
		}
	}
	return limits.Room(s.limits.Streams, count, "event streams of one token (open ones, and those just made)")
}

// mayShow reports a scope that the filters ask for and the principal lacks.
func mayShow(p scope.Principal, r *eventstream.Registration) error {
	for _, need := range r.Needs() {
		if err := p.Require(need...); err != nil {
			return err
		}
	}
	return nil
}

// UpdateStream replaces the name and filters of a stream.
func (s *Shard) UpdateStream(ctx context.Context, p scope.Principal, stream id.Stream, draft eventstream.Registration) (*eventstream.Registration, error) {
	old, err := s.Stream(p, stream)
	if err != nil {
		return nil, err
	}
	r := eventstream.New(p, draft)
	r.ID, r.Created = old.ID, old.Created
	if err := mayShow(p, r); err != nil {
		return nil, err
	}
	return r, s.commit(ctx, func() ([]records.Write, error) {
		if s.streams[stream] == nil {
			return nil, noStream(stream)
		}
		s.streams[stream] = r
		s.hub.Replace(r, p)
		return []records.Write{{Kind: kindStream, ID: stream.String(), Value: r}}, nil
	})
}

func noStream(stream id.Stream) error {
	return problem.New(problem.NotFound, "There is no event stream with the id %s here: it was deleted, or never made. POST /subscriptions makes one.", stream).At("subscriptionId")
}

// Stream returns a registered stream to whom it belongs: an installed app its own, a person
// those that no app made.
func (s *Shard) Stream(p scope.Principal, stream id.Stream) (*eventstream.Registration, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	r := s.streams[stream]
	switch {
	case r == nil:
		return nil, noStream(stream)
	case r.InstalledApp != p.InstalledApp && p.IsApp():
		return nil, problem.New(problem.Denied, "The event stream %s was not made with a token of this installed app (%s). Open it with a token of the one that made it, or make your own with POST /subscriptions.",
			stream, p.InstalledApp).At("subscriptionId")
	case r.InstalledApp == p.InstalledApp && !r.BelongsTo(p):
		return nil, noStream(stream) // another person's
	case r.InstalledApp != p.InstalledApp:
		return nil, problem.New(problem.Denied, "The event stream %s was made by the installed app %s; a personal access token cannot open it. Use a token of that app, or make your own stream.",
			stream, r.InstalledApp).At("subscriptionId")
	}
	return r, nil
}

// Streams returns the principal's registered streams, oldest first.
func (s *Shard) Streams(p scope.Principal) []*eventstream.Registration {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var list []*eventstream.Registration
	for _, r := range s.streams {
		if r.BelongsTo(p) {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b *eventstream.Registration) int { return a.Created.Compare(b.Created) })
	return list
}

// DeleteStream forgets a stream and ends its connection. One that is unknown, closed or not
// the principal's is no fault: clients delete after every end of a stream, and an error stops
// some of them for good (client requirements, "Event sinks").
func (s *Shard) DeleteStream(ctx context.Context, p scope.Principal, stream id.Stream) (deleted bool, err error) {
	err = s.commit(ctx, func() ([]records.Write, error) {
		r := s.streams[stream]
		if r == nil || !r.BelongsTo(p) {
			return nil, nil
		}
		deleted = true
		delete(s.streams, stream)
		s.hub.Forget(stream, eventstream.ErrDeleted)
		return []records.Write{{Kind: kindStream, ID: stream.String(), Brief: true}}, nil
	})
	return deleted, err
}

// Hub returns the hub of live events.
func (s *Shard) Hub() *eventstream.Hub { return &s.hub }

// ForgetStreams forgets registered streams that were made so long ago and that nobody reads.
func (s *Shard) ForgetStreams(ctx context.Context, age time.Duration) error {
	return s.commit(ctx, func() (writes []records.Write, err error) {
		for stream, r := range s.streams {
			if time.Since(r.Created) > age && !s.hub.IsOpen(stream) {
				delete(s.streams, stream)
				s.hub.Forget(stream, eventstream.ErrDeleted)
				writes = append(writes, records.Write{Kind: kindStream, ID: stream.String(), Brief: true})
			}
		}
		return writes, nil
	})
}

// Committed returns the position up to which every event is durable.
func (s *Shard) Committed() uint64 { return s.journal.Committed() }

// Past calls fn with the events after one position up to another, in order. When the oldest
// of them may be gone, it calls gone first, with the position of the oldest that is kept.
func (s *Shard) Past(ctx context.Context, after, upTo uint64, gone func(before uint64), fn func(*event.Event) error) error {
	first, err := s.journal.First(ctx)
	if err != nil {
		return err
	}
	if after+1 < first && after < upTo {
		gone(first)
		after = first - 1
	}
	deadline := time.Now().Add(pastPatience)
	for after < upTo {
		events, through, err := s.journal.ReadAll(ctx, after, pastBatch)
		if err != nil {
			return err
		}
		for _, e := range events {
			if e.Seq > upTo {
				return nil
			}
			if err := fn(e); err != nil {
				return err
			}
		}
		if through > after {
			after, deadline = through, time.Now().Add(pastPatience)
			continue
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the engine does not show the events after position %d", after)
		}
		select { // this server of the engine lags behind
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

const (
	pastBatch    = 500
	pastPatience = 5 * time.Second
)
