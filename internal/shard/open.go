package shard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
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
	"hark/internal/records"
	"hark/internal/schedule"
	"hark/internal/subscription"
	"hark/internal/telemetry"
)

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
		at := s.locations[in.Location]
		if at == nil {
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
		s.install(installed, at)
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
		if r.InstalledApp.IsZero() || s.installed[r.InstalledApp] != nil {
			s.streams[r.ID] = r
		}
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
