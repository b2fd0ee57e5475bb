package shard

import (
	"context"
	"slices"
	"strconv"
	"time"

	"hark/internal/delivery"
	"hark/internal/id"
	"hark/internal/records"
)

// checkpointEvery is how often what the journal says is worked into the records. After a
// crash, at most so much is read again and may be delivered again.
const checkpointEvery = 250 * time.Millisecond

// lastCheckpoint bounds the one at the end, for an engine that does not answer any more.
const lastCheckpoint = 5 * time.Second

func (s *Shard) checkpointing(ctx context.Context) {
	tick := time.NewTicker(checkpointEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := s.checkpoint(ctx); err != nil && ctx.Err() == nil {
				s.log.Error("checkpoint failed", "err", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// checkpoint writes cursors, changed states and the checkpoint itself, which comes last: what
// is before it in the records is true wherever a crash cuts them off.
func (s *Shard) checkpoint(ctx context.Context) error {
	started := time.Now()
	defer func() { s.tel.CheckpointTime.Observe(time.Since(started).Seconds()) }()
	p := s.pending()
	if err := s.durable(ctx, p.position); err != nil { // states must not be ahead of the journal
		s.mu.Lock()
		defer s.mu.Unlock()
		for d := range p.states {
			s.dirty[d] = struct{}{} // for the next one
		}
		return err
	}
	return s.commit(ctx, func() ([]records.Write, error) { return s.checkpointWrites(p), nil })
}

// pending is what a checkpoint writes once the journal is durable up to a position.
type pending struct {
	position uint64
	states   map[*device]stateRecord
}

func (s *Shard) pending() pending {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := pending{s.journal.Last(), map[*device]stateRecord{}}
	for d := range s.dirty {
		p.states[d] = stateRecord{d.seq, slices.Clone(d.state), d.health}
	}
	clear(s.dirty)
	return p
}

// checkpointWrites returns what to write. Positions of locations and of deliveries are taken
// together, so that none is older than the other says. The caller holds mu.
func (s *Shard) checkpointWrites(p pending) []records.Write {
	var writes []records.Write
	for d, st := range p.states {
		if s.devices[d.home.ID] == d { // it may be gone by now
			writes = append(writes, records.Write{Kind: kindState, ID: d.home.ID.String(), Value: st})
		}
	}
	for l := range s.dirtyPlaces {
		if s.locations[l.home.ID] == l {
			writes = append(writes, records.Write{Kind: kindPlace, ID: l.home.ID.String(), Value: placeRecord{l.settled, l.last}})
		}
	}
	clear(s.dirtyPlaces)
	for e := range s.announced {
		if e.Seq > 0 && e.Seq <= p.position { // it is durable, and from now on nobody looks for it
			delete(s.announced, e)
			writes = append(writes, records.Write{Kind: kindAnnounced, ID: e.ID.String(), Brief: true})
		}
	}
	cp := s.delivery.Checkpoint()
	for app, at := range cp.Cursors {
		writes = append(writes, records.Write{Kind: kindCursor, ID: app.String(), Value: at})
	}
	for _, app := range cp.Deleted {
		writes = append(writes, records.Write{Kind: kindCursor, ID: app.String()})
	}
	for app, gaps := range cp.Gaps {
		for _, g := range gaps {
			writes = append(writes, records.Write{Kind: kindGap, ID: gapKey(app, g), Value: g})
		}
	}
	for key, r := range cp.Refused {
		w := records.Write{Kind: kindRefused, ID: key}
		if r != nil {
			w.Value = r
		} else {
			w.Brief = true // a copy would be tried again, or be a dead letter
		}
		writes = append(writes, w)
	}
	now := checkpoint{State: p.position, LowWater: cp.LowWater}
	if writes = append(writes, s.bury()...); len(writes) > 0 || now != s.stored {
		writes = append(writes, records.Write{Kind: kindCheckpoint, ID: "shard", Value: now})
		s.stored = now
	}
	return writes
}

func gapKey(app id.InstalledApp, g delivery.Gap) string {
	return app.String() + "." + strconv.FormatUint(g.After, 10)
}

// durable waits until the journal is durable up to the position and memory knows it.
func (s *Shard) durable(ctx context.Context, position uint64) error {
	for {
		s.mu.RLock()
		through := s.through
		s.mu.RUnlock()
		if through >= position {
			return nil
		}
		if err := s.journal.Err(); err != nil {
			return err
		}
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// bury forgets the deleted subscriptions for which every event from before is delivered
// durably: those that ended before the last stored checkpoint. The caller holds mu.
func (s *Shard) bury() []records.Write {
	var writes []records.Write
	for sub := range s.tombstones {
		in := s.installed[*sub.App]
		position := s.stored.LowWater
		if done, waits := s.delivery.Waits(*sub.App); waits {
			position = min(position, done)
		}
		if position < sub.Until {
			continue
		}
		writes = append(writes, in.remove(sub)...)
		s.index.Remove(sub)
		delete(s.tombstones, sub)
	}
	return writes
}
