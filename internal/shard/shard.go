// Package shard owns a set of locations: it is the only writer of their journal and records.
// It validates reports, decides what changed, journals it, matches it against the
// subscriptions and hands it to delivery, all in order. It holds everything that an event
// needs in memory and never calls an app. A process can have two shards.
package shard

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"hark/internal/apps"
	"hark/internal/attempts"
	"hark/internal/delivery"
	"hark/internal/directory"
	"hark/internal/event"
	"hark/internal/eventstream"
	"hark/internal/home"
	"hark/internal/id"
	"hark/internal/journal"
	"hark/internal/limits"
	"hark/internal/problem"
	"hark/internal/records"
	"hark/internal/schedule"
	"hark/internal/subscription"
	"hark/internal/telemetry"
)

// Shard is open for one process. It is safe for concurrent use.
type Shard struct {
	log       *slog.Logger
	directory *directory.Directory
	records   *records.Store
	journal   *journal.Journal
	delivery  *delivery.Dispatcher
	attempts  *attempts.Log
	hub       eventstream.Hub

	mu          sync.RWMutex
	locations   map[id.Location]*location
	homes       map[id.Account][]id.Location // lists are replaced, never changed
	devices     map[id.Device]*device
	rooms       map[id.Room]*location
	installed   map[id.InstalledApp]*installed
	index       subscription.Index
	tombstones  map[*subscription.Subscription]struct{} // deleted, but events before that may still be on their way
	dirty       map[*device]struct{}                    // state changed since the last checkpoint
	dirtyPlaces map[*location]struct{}
	stored      checkpoint
	through     uint64 // every event up to here is durable and offered
	streams     map[id.Stream]*eventstream.Registration
	scenes      map[id.Scene]*home.Scene
	announced   map[*event.Event]struct{} // their records say that they happen; the journal may not yet
	farewells   map[id.InstalledApp]*Farewell
	alarms      alarms

	limits  limits.Limits
	tel     *telemetry.Telemetry
	may     func() error
	full    func() error // why no more reports are taken, nil while they are
	now     func() time.Time
	stop    context.CancelFunc
	running sync.WaitGroup
}

// location is a location as it is now. What home points to is replaced, never changed.
type location struct {
	home      *home.Location
	place            // as it is now
	settled   place  // as far as the journal is durable
	last      uint64 // position of its newest event
	devices   map[id.Device]*device
	installed []*installed // in no order
}

// place is what a location's events leave behind.
type place struct {
	Mode id.Mode `json:"mode"`
	Arm  string  `json:"arm,omitempty"` // "" is disarmed
}

// device is a device as it is now. What home points to is replaced, never changed.
type device struct {
	home       *home.Device
	at         *location
	state      []home.Attribute
	health     Health
	seq        uint64 // position of the newest event in state
	lastReport time.Time
	heard      time.Time // when it spoke; lastReport is what it said of that
	watched    bool      // an alarm will look whether it fell silent
}

// installed is an installed app with its subscriptions, in the order in which they were
// made, deleted ones that still matter included.
type installed struct {
	id            *id.InstalledApp // shared by its subscriptions
	app           *apps.Installed
	subscriptions []*subscription.Subscription
	pages         []page
	schedules     map[string]*schedule.Schedule
}

func newInstalled(app *apps.Installed) *installed {
	own := app.ID
	return &installed{id: &own, app: app, schedules: map[string]*schedule.Schedule{}}
}

// The kinds of record.
const (
	kindLocation      = "location"
	kindPlace         = "place" // a location's mode, arm state and newest event
	kindDevice        = "device"
	kindState         = "state" // a device's attributes and health
	kindScene         = "scene"
	kindSchedule      = "schedule"
	kindAnnounced     = "announced" // an event that follows from a change of other records
	kindFarewell      = "farewell"  // an app that is uninstalled, but was not told yet
	kindInstalled     = "installedapp"
	kindSubscriptions = "subscriptions" // a page of an installed app's
	kindCursor        = "cursor"
	kindStream        = "stream"
	kindGap           = "gap"     // an installed app's, by the position after which it begins
	kindRefused       = "refused" // an event that an app refused
	kindCheckpoint    = "checkpoint"
)

type placeRecord struct {
	place
	Last uint64 `json:"last"`
}

type stateRecord struct {
	Seq        uint64           `json:"seq"`
	Attributes []home.Attribute `json:"attributes"`
	Health     Health           `json:"health,omitzero"`
}

// checkpoint says up to where the journal is worked into the records.
type checkpoint struct {
	State    uint64 `json:"state"`    // states and places hold everything up to here
	LowWater uint64 `json:"lowWater"` // apps without a cursor have everything up to here
}

// Config says how a shard keeps its journal.
type Config struct {
	Name    string // of a-z 0-9; names its streams
	Journal journal.Config
	Limits  limits.Limits
	// AttemptBytes is how large the log of attempts to deliver may get.
	AttemptBytes int64
	// May returns why nothing may be sent to apps for now, nil when it may; nil is always.
	May    func() error
	Silent bool // deliver nothing: what waits goes on waiting, and no schedule is due
	// Now tells the time to schedules and to the watch over silent devices; nil is the clock.
	Now func() time.Time
	// Telemetry is told of everything; nil for one that nobody sees.
	Telemetry *telemetry.Telemetry
}

// withOwn adds to what an event matched what its installed app has without asking. The caller
// holds mu.
func (s *Shard) withOwn(e *event.Event, matched []*subscription.Subscription) []*subscription.Subscription {
	if in := s.installed[e.InstalledApp]; in != nil && e.Unasked() {
		matched = append(matched, subscription.Own(in.id, in.app.Location))
	}
	return matched
}

// Close stops deliveries, waiting for those under way until ctx ends, makes where they stand
// durable, and lets go of the streams.
func (s *Shard) Close(ctx context.Context) {
	s.hub.Close()
	s.stop()
	s.running.Wait()
	s.delivery.Stop(ctx)
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastCheckpoint)
	defer cancel()
	if err := s.checkpoint(last); err != nil {
		s.log.Error("the last checkpoint failed; some events will be delivered again", "err", err)
	}
	s.attempts.Close()
	s.journal.Close()
	s.records.Close()
}

// Err returns why the shard takes no more events or changes, nil while it does.
func (s *Shard) Err() error {
	if err := s.journal.Err(); err != nil {
		return err
	}
	return s.records.Err()
}

// Stalled returns why events or changes are not durable yet, while that is tried again.
func (s *Shard) Stalled() error {
	if err := s.journal.Stalled(); err != nil {
		return err
	}
	return s.records.Stalled()
}

// May returns why nothing may be sent to apps for now, nil when it may.
func (s *Shard) May() error { return s.may() }

// Delivery returns the shard's dispatcher.
func (s *Shard) Delivery() *delivery.Dispatcher { return s.delivery }

// commit runs fn, which changes memory and says what to write, and queues that, under one
// lock: memory and records change in one order. It returns once the change is durable. When
// fn refuses, it must have changed nothing.
func (s *Shard) commit(ctx context.Context, fn func() ([]records.Write, error)) error {
	return s.cause(ctx, func() ([]records.Write, []*event.Event, error) {
		writes, err := fn()
		return writes, nil, err
	})
}

// cause is commit for a change from which events follow. They are journalled in the order of
// the changes, once those are durable; a record announces them until then, so that a crash
// between leaves none out. It returns once they are durable too.
func (s *Shard) cause(ctx context.Context, fn func() ([]records.Write, []*event.Event, error)) error {
	result := make(chan error, 1)
	s.mu.Lock()
	writes, events, err := fn()
	if err != nil {
		s.mu.Unlock()
		return err
	}
	trace := telemetry.Carried(ctx)
	for _, e := range events {
		e.Trace = trace
		s.announced[e] = struct{}{}
		writes = append(writes, records.Write{Kind: kindAnnounced, ID: e.ID.String(), Value: e})
	}
	err = s.records.Queue(func(err error) {
		if err == nil && len(events) > 0 {
			s.mu.Lock()
			err = s.append(events, "", result)
			s.mu.Unlock()
			if err == nil {
				return
			}
		}
		result <- err
	}, writes...)
	s.mu.Unlock()
	if err == nil {
		select {
		case err = <-result:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	if err != nil {
		return problem.New(problem.Unavailable, "The change could not be made durable, so it is not acknowledged: %v.", err)
	}
	return nil
}

// happen runs fn, which says what happens and refuses what must not, and journals that. It
// returns once it is durable.
func (s *Shard) happen(ctx context.Context, fn func() ([]*event.Event, error)) error {
	result := make(chan error, 1)
	s.mu.Lock()
	events, err := fn()
	if err == nil && len(events) > 0 {
		err = s.append(events, telemetry.Carried(ctx), result)
	}
	s.mu.Unlock()
	if err != nil || len(events) == 0 {
		return err
	}
	select {
	case err = <-result:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return notJournalled(err)
	}
	return nil
}
