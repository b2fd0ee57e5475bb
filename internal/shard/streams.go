package shard

import (
	"context"
	"fmt"
	"slices"
	"time"

	"hark/internal/event"
	"hark/internal/eventstream"
	"hark/internal/id"
	"hark/internal/problem"
	"hark/internal/records"
	"hark/internal/scope"
	"hark/internal/subscription"
)

// CreateStream registers an event stream for the principal (reference 2.2).
func (s *Shard) CreateStream(ctx context.Context, p scope.Principal, draft eventstream.Registration) (*eventstream.Registration, error) {
	r := eventstream.New(p, draft)
	for _, need := range r.Needs() {
		if err := p.Require(need...); err != nil {
			return nil, err
		}
	}
	return r, s.commit(ctx, func() ([]records.Write, error) {
		s.streams[r.ID] = r
		return []records.Write{{Kind: kindStream, ID: r.ID.String(), Value: r}}, nil
	})
}

// Stream returns a registered stream to whom it belongs: an installed app its own, a person
// those that no app made.
func (s *Shard) Stream(p scope.Principal, stream id.Stream) (*eventstream.Registration, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	r := s.streams[stream]
	switch {
	case r == nil:
		return nil, problem.New(problem.NotFound, "There is no event stream with the id %s here: it was deleted, or never made. POST /subscriptions makes one.", stream).At("subscriptionId")
	case r.InstalledApp != p.InstalledApp && p.IsApp():
		return nil, problem.New(problem.Denied, "The event stream %s was not made with a token of this installed app (%s). Open it with a token of the one that made it, or make your own with POST /subscriptions.",
			stream, p.InstalledApp).At("subscriptionId")
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
		if r.InstalledApp == p.InstalledApp {
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
		if r == nil || r.InstalledApp != p.InstalledApp {
			return nil, nil
		}
		deleted = true
		delete(s.streams, stream)
		s.hub.End(stream, eventstream.ErrDeleted)
		return []records.Write{{Kind: kindStream, ID: stream.String()}}, nil
	})
	return deleted, err
}

// Hub returns the hub of live events.
func (s *Shard) Hub() *eventstream.Hub { return &s.hub }

// Shows reports whether the stream may show the event to the principal: its filters let it
// through, and the scope is held now.
func Shows(r *eventstream.Registration, p scope.Principal, e *event.Event) bool {
	return r.Matches(e) && p.Sees(e.Location) && p.May(subscription.EventNeeds(e)...)
}

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
