// Package shard owns a set of locations: it is the only writer of their journal and records.
// It validates reports, decides what changed, journals it, matches it against the
// subscriptions and hands it to delivery, all in order. It holds everything that an event
// needs in memory and never calls an app. A process can have two shards.
package shard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"hark/internal/appcall"
	"hark/internal/apps"
	"hark/internal/attempts"
	"hark/internal/delivery"
	"hark/internal/directory"
	"hark/internal/engine"
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
	home    *home.Location
	place          // as it is now
	settled place  // as far as the journal is durable
	last    uint64 // position of its newest event
	devices map[id.Device]*device
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

// Stored is what a shard consists of before it works: its streams, and its records as they were
// read.
type Stored struct {
	engine   *engine.Engine
	cfg      Config
	log      *slog.Logger
	records  *records.Store
	journal  *journal.Journal
	attempts *attempts.Log
	loader   loader
}

// Read opens the shard's streams and reads its records, which is most of what a start takes, and
// needs nothing else. The caller opens it, or closes it.
func Read(ctx context.Context, e *engine.Engine, cfg Config, log *slog.Logger) (*Stored, error) {
	st := &Stored{engine: e, cfg: cfg, log: log, loader: loader{subscriptions: newPageReader()}}
	if err := st.read(ctx); err != nil {
		st.Close()
		return nil, fmt.Errorf("open shard %s: %w", cfg.Name, err)
	}
	return st, nil
}

func (st *Stored) read(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, st.loader.subscriptions.end()) }()
	if st.records, err = records.Open(ctx, st.engine, st.cfg.Name); err != nil {
		return err
	}
	if st.journal, err = journal.Open(ctx, st.engine, st.cfg.Name, st.cfg.Journal); err != nil {
		return err
	}
	if st.attempts, err = attempts.Open(ctx, st.engine, st.cfg.Name, st.cfg.AttemptBytes, st.log); err != nil {
		return err
	}
	return st.records.Load(ctx, st.loader.load)
}

// Close lets go of the streams.
func (st *Stored) Close() {
	if st.attempts != nil {
		st.attempts.Close()
	}
	if st.journal != nil {
		st.journal.Close()
	}
	if st.records != nil {
		st.records.Close()
	}
}

// Open reads the shard and opens it.
func Open(ctx context.Context, e *engine.Engine, cfg Config, dir *directory.Directory, caller *appcall.Caller, log *slog.Logger) (*Shard, error) {
	st, err := Read(ctx, e, cfg, log)
	if err != nil {
		return nil, err
	}
	return st.Open(ctx, dir, caller)
}

// Open works in what the journal has beyond the last checkpoint, and starts delivering. The
// caller closes the shard, and what was stored no more.
func (st *Stored) Open(ctx context.Context, dir *directory.Directory, caller *appcall.Caller) (*Shard, error) {
	cfg, log := st.cfg, st.log
	s := &Shard{
		log: log.With("component", "shard", "shard", cfg.Name), directory: dir, records: st.records, journal: st.journal, attempts: st.attempts,
		locations: map[id.Location]*location{}, homes: map[id.Account][]id.Location{}, devices: map[id.Device]*device{}, rooms: map[id.Room]*location{},
		installed: map[id.InstalledApp]*installed{}, tombstones: map[*subscription.Subscription]struct{}{},
		dirty: map[*device]struct{}{}, dirtyPlaces: map[*location]struct{}{}, streams: map[id.Stream]*eventstream.Registration{},
		scenes: map[id.Scene]*home.Scene{}, announced: map[*event.Event]struct{}{}, farewells: map[id.InstalledApp]*Farewell{}, now: cfg.Now, full: st.engine.Full, limits: cfg.Limits,
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.tel = cfg.Telemetry; s.tel == nil {
		s.tel = telemetry.New()
	}
	if s.may = cfg.May; s.may == nil {
		s.may = func() error { return nil }
	}
	s.delivery = delivery.New(ctx, log, dir, s.journal, caller, s.attempts, s, cfg.Limits, s.tel)
	if err := s.restore(ctx, &st.loader, cfg.Silent); err != nil {
		st.Close()
		return nil, fmt.Errorf("open shard %s: %w", cfg.Name, err)
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx)) // Close ends it
	s.stop = stop
	s.running.Go(func() { s.checkpointing(running) })
	if !cfg.Silent {
		s.running.Go(func() { s.ringing(running) })
	}
	return s, nil
}

// restore brings memory to where it was: the records, then the journal after them.
func (s *Shard) restore(ctx context.Context, l *loader, silent bool) error {
	s.stored = l.checkpoint
	unfinished := l.build(s)
	after := min(s.stored.State, s.stored.LowWater)
	replayed := 0
	if err := s.journal.Scan(ctx, after, func(e *event.Event) error {
		replayed++
		if l.announced[e.ID] != nil { // it did happen: the next checkpoint takes the announcement away
			delete(l.announced, e.ID)
			s.announced[e] = struct{}{}
		}
		s.replay(e)
		return nil
	}); err != nil {
		return err
	}
	for at, l := range s.locations {
		s.delivery.RestoreLast(at, l.last)
	}
	s.through = s.journal.Committed()
	s.delivery.Reach(s.through)
	s.hub.Reach(s.through)
	if !silent {
		s.delivery.Start()
	}
	s.log.Info("home restored", "locations", len(s.locations), "devices", len(s.devices), "installedApps", len(s.installed),
		"subscriptions", s.index.Len(), "eventsReplayed", replayed)
	for _, app := range unfinished {
		s.log.Warn("an install was cut short by the last stop; it is taken back", "installedApp", app)
		if err := s.forget(ctx, app, nil); err != nil {
			return err
		}
	}
	return s.announce(l.announced, l.order)
}

// announce journals the events that follow from changes that became durable just before a
// crash.
func (s *Shard) announce(left map[id.Event]*event.Event, order []id.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range order {
		if left[e] == nil || s.locations[left[e].Location] == nil {
			continue
		}
		s.log.Info("an event is journalled that the last stop cut off", "event", e, "type", left[e].Type)
		s.announced[left[e]] = struct{}{}
		if err := s.append([]*event.Event{left[e]}, "", make(chan error, 1)); err != nil {
			return err
		}
	}
	return nil
}

// replay works an event of the past into memory, and delivers it to apps that may not have
// it. Opening is single-threaded, so it needs no lock; delivery has its own.
func (s *Shard) replay(e *event.Event) {
	l := s.locations[e.Location]
	if l == nil {
		return // the location was deleted since
	}
	l.last = max(l.last, e.Seq)
	if e.Seq > s.stored.State {
		s.apply(l, e)
		l.settled = l.place
	}
	if e.Seq > s.stored.LowWater {
		s.delivery.Offer(e, s.withOwn(e, s.index.Match(nil, e)))
	}
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

// loader gathers the records, which come in no particular order between kinds.
type loader struct {
	locations     []*home.Location
	places        map[id.Location]placeRecord
	devices       []*home.Device
	states        map[id.Device]stateRecord
	installed     []*apps.Installed
	streams       []*eventstream.Registration
	subscriptions *pageReader
	cursors       map[id.InstalledApp]delivery.Place
	gaps          map[id.InstalledApp][]delivery.Gap
	scenes        []*home.Scene
	schedules     []*schedule.Schedule
	farewells     []*Farewell
	refused       []*delivery.Refused
	announced     map[id.Event]*event.Event
	order         []id.Event // in which the events were announced
	checkpoint    checkpoint
}

func (l *loader) load(kind, key string, data []byte) error {
	var err error
	switch kind {
	case kindLocation:
		err = loadInto(data, &l.locations)
	case kindDevice:
		err = loadInto(data, &l.devices)
	case kindInstalled:
		err = loadInto(data, &l.installed)
	case kindStream:
		err = loadInto(data, &l.streams)
	case kindScene:
		err = loadInto(data, &l.scenes)
	case kindSchedule:
		err = loadInto(data, &l.schedules)
	case kindFarewell:
		err = loadInto(data, &l.farewells)
	case kindRefused:
		err = loadInto(data, &l.refused)
	case kindAnnounced:
		var e *event.Event
		if e, err = event.Decode(data); err == nil {
			if l.announced == nil {
				l.announced = map[id.Event]*event.Event{}
			}
			l.announced[e.ID] = e
			l.order = append(l.order, e.ID)
		}
	case kindPlace:
		err = loadAt(key, data, &l.places)
	case kindState:
		err = loadAt(key, data, &l.states)
	case kindCursor:
		err = loadAt(key, data, &l.cursors)
	case kindGap:
		app, _, _ := strings.Cut(key, ".")
		gaps := map[id.InstalledApp]delivery.Gap{}
		err = loadAt(app, data, &gaps)
		for app, g := range gaps {
			if l.gaps == nil {
				l.gaps = map[id.InstalledApp][]delivery.Gap{}
			}
			l.gaps[app] = append(l.gaps[app], g)
		}
	case kindCheckpoint:
		err = json.Unmarshal(data, &l.checkpoint)
	case kindSubscriptions:
		l.subscriptions.raw <- rawPage{key, data}
	}
	if err != nil {
		return fmt.Errorf("record %s.%s: %w", kind, key, err)
	}
	return nil
}

func loadInto[T any](data []byte, list *[]*T) error {
	v := new(T)
	*list = append(*list, v)
	return json.Unmarshal(data, v)
}

func loadAt[K ~[16]byte, T any](key string, data []byte, m *map[K]T) error {
	k, err := id.Parse[K](key)
	if err != nil {
		return err
	}
	if *m == nil {
		*m = map[K]T{}
	}
	var v T
	err = json.Unmarshal(data, &v)
	(*m)[k] = v
	return err
}

// build puts the records together, and returns the apps whose install was cut short. A
// record whose owner is gone is left out.
func (l *loader) build(s *Shard) (unfinished []id.InstalledApp) {
	for _, h := range l.locations {
		p := l.places[h.ID]
		s.locations[h.ID] = &location{home: h, place: p.place, settled: p.place, last: p.Last, devices: map[id.Device]*device{}}
		s.addHome(h)
		for _, r := range h.Rooms {
			s.rooms[r.ID] = s.locations[h.ID]
		}
	}
	for _, h := range l.devices {
		if at := s.locations[h.Location]; at != nil {
			st := l.states[h.ID]
			d := &device{home: h, at: at, state: st.Attributes, health: st.Health, seq: st.Seq, lastReport: h.Created}
			for _, a := range st.Attributes {
				if a.Time.After(d.lastReport) {
					d.lastReport = a.Time
				}
			}
			s.devices[h.ID], at.devices[h.ID] = d, d
			s.watch(d)
		}
	}
	for _, sc := range l.scenes {
		if s.locations[sc.Location] != nil {
			s.scenes[sc.ID] = sc
		}
	}
	for _, f := range l.farewells {
		s.farewells[f.Installed.ID] = f
	}
	for _, in := range l.installed {
		if s.locations[in.Location] == nil {
			continue
		}
		installed := newInstalled(in)
		installed.restore(l.subscriptions.pages[in.ID])
		for _, sub := range installed.subscriptions {
			s.index.Add(sub)
			if sub.Until > 0 {
				s.tombstones[sub] = struct{}{}
			}
		}
		s.installed[in.ID] = installed
		if in.Status == apps.Installing {
			unfinished = append(unfinished, in.ID)
		}
		if at, ok := l.cursors[in.ID]; ok {
			s.delivery.Restore(in.ID, in.Location, at)
		}
		for _, g := range l.gaps[in.ID] {
			s.delivery.RestoreGap(in.ID, g)
		}
	}
	for _, r := range l.streams {
		s.streams[r.ID] = r
	}
	for _, r := range l.refused {
		if s.installed[r.InstalledApp] != nil {
			s.delivery.RestoreRefused(r)
		}
	}
	for _, sc := range l.schedules {
		if in := s.installed[sc.InstalledApp]; in != nil {
			in.schedules[sc.Name] = sc
			s.arm(in, sc)
		}
	}
	return unfinished
}
