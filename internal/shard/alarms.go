package shard

import (
	"container/heap"
	"context"
	"time"

	"hark/internal/event"
	"hark/internal/records"
)

// alarm is something to do at a time. Ring says what to write and what happens then; it is
// called with mu held, and finds out by itself whether there still is something to do.
type alarm struct {
	at   time.Time
	ring func(now time.Time) ([]records.Write, []*event.Event)
}

// alarms are ordered by time. They are guarded by the shard's mu.
type alarms []alarm

func (a alarms) Len() int           { return len(a) }
func (a alarms) Less(i, j int) bool { return a[i].at.Before(a[j].at) }
func (a alarms) Swap(i, j int)      { a[i], a[j] = a[j], a[i] }
func (a *alarms) Push(x any)        { *a = append(*a, x.(alarm)) }
func (a *alarms) Pop() any {
	last := len(*a) - 1
	x := (*a)[last]
	(*a)[last] = alarm{}
	*a = (*a)[:last]
	return x
}

// alarm sets an alarm. The caller holds mu.
func (s *Shard) alarm(at time.Time, ring func(time.Time) ([]records.Write, []*event.Event)) {
	heap.Push(&s.alarms, alarm{at, ring})
}

const (
	// nap is how long the shard sleeps at most before it looks at the clock again, which may
	// have been set.
	nap = 100 * time.Millisecond
	// ringAtOnce bounds the alarms that one change works off: what it writes is all or nothing.
	ringAtOnce = 100
)

func (s *Shard) ringing(ctx context.Context) {
	for {
		s.mu.RLock()
		wait := nap
		if len(s.alarms) > 0 {
			wait = min(nap, s.alarms[0].at.Sub(s.now()))
		}
		s.mu.RUnlock()
		if wait <= 0 {
			if err := s.ringDue(ctx); err != nil && ctx.Err() == nil {
				s.log.Error("what is due could not be made durable", "err", err)
				wait = nap
			}
		}
		select {
		case <-time.After(max(wait, time.Millisecond)):
		case <-ctx.Done():
			return
		}
	}
}

// ringDue works off alarms that are due.
func (s *Shard) ringDue(ctx context.Context) error {
	return s.cause(ctx, func() (writes []records.Write, events []*event.Event, err error) {
		now := s.now()
		for n := 0; n < ringAtOnce && len(s.alarms) > 0 && !s.alarms[0].at.After(now); n++ {
			w, e := heap.Pop(&s.alarms).(alarm).ring(now)
			writes, events = append(writes, w...), append(events, e...)
		}
		return writes, events, nil
	})
}
