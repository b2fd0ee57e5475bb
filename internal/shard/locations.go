package shard

import (
	"cmp"
	"context"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"hark/internal/event"
	"hark/internal/home"
	"hark/internal/id"
	"hark/internal/limits"
	"hark/internal/problem"
	"hark/internal/records"
	"hark/internal/scope"
)

func noLocation(location id.Location) error {
	return problem.New(problem.NotFound, "There is no location with the id %s on this hark.", location).At("locationId")
}

// find returns the location to one who may do verb there. The caller holds mu.
func (s *Shard) find(p scope.Principal, verb string, at id.Location) (*location, error) {
	if err := p.Require(scope.Location(verb, at)); err != nil {
		return nil, err
	}
	if l := s.locations[at]; l != nil && p.Sees(at) {
		return l, nil
	}
	return nil, noLocation(at)
}

// Location returns the location, which must not be changed.
func (s *Shard) Location(p scope.Principal, at id.Location) (*home.Location, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	l, err := s.find(p, "r", at)
	if err != nil {
		return nil, err
	}
	return l.home, nil
}

// Locations returns the locations that the principal may read, oldest first. An installed
// app sees its own.
func (s *Shard) Locations(p scope.Principal) []*home.Location {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var list []*home.Location
	for l := range s.seenBy(p) {
		if p.May(scope.Location("r", l.home.ID)) {
			list = append(list, l.home)
		}
	}
	slices.SortFunc(list, func(a, b *home.Location) int { return a.Created.Compare(b.Created) })
	return list
}

// seenBy are the locations that are the principal's business, in no order: see
// [scope.Principal.Sees]. The caller holds mu.
func (s *Shard) seenBy(p scope.Principal) iter.Seq[*location] {
	few := p.Homes
	switch {
	case p.IsApp():
		few = []id.Location{p.Location}
	case p.Account.IsZero():
		return maps.Values(s.locations)
	}
	return func(yield func(*location) bool) {
		for _, at := range few {
			if l := s.locations[at]; l != nil && !yield(l) {
				return
			}
		}
	}
}

// CreateLocation adds a location; one without modes gets Home, Away and Night, the first
// being the current one.
func (s *Shard) CreateLocation(ctx context.Context, p scope.Principal, draft home.Location) (*home.Location, error) {
	if err := p.Require("w:locations:*"); err != nil {
		return nil, err
	}
	if draft.Name == "" || len(draft.Name) > 128 {
		return nil, problem.Field("name", "SizeError", "has %d characters; it has 1 to 128", len(draft.Name))
	}
	if err := checkLocation(&draft); err != nil {
		return nil, err
	}
	created := draft
	created.ID, created.Owner = id.New[id.Location](), p.Account
	created.Created = time.Now().UTC().Truncate(time.Millisecond)
	created.LastModified = created.Created
	if len(created.Modes) == 0 {
		for _, name := range []string{"Home", "Away", "Night"} {
			created.Modes = append(created.Modes, home.Mode{ID: id.New[id.Mode](), Label: name, Name: name})
		}
	}
	l := &location{home: &created, place: place{Mode: created.Modes[0].ID}, settled: place{Mode: created.Modes[0].ID}, devices: map[id.Device]*device{}}
	return &created, s.commit(ctx, func() ([]records.Write, error) {
		if err := limits.Room(s.limits.Locations, len(s.locations), "locations"); err != nil {
			return nil, err
		}
		s.locations[created.ID] = l
		s.addHome(&created)
		return []records.Write{
			{Kind: kindPlace, ID: created.ID.String(), Value: placeRecord{place: l.place}},
			{Kind: kindLocation, ID: created.ID.String(), Value: created},
		}, nil
	})
}

// addHome notes whose home a location is. The caller holds mu.
func (s *Shard) addHome(h *home.Location) {
	if !h.Owner.IsZero() {
		s.homes[h.Owner] = append(slices.Clip(s.homes[h.Owner]), h.ID)
	}
}

// checkLocation fills in what the API never leaves out.
func checkLocation(l *home.Location) error {
	l.CountryCode = cmp.Or(l.CountryCode, "USA")
	l.TemperatureScale = cmp.Or(l.TemperatureScale, "C")
	l.TimeZoneID = cmp.Or(l.TimeZoneID, "UTC")
	l.Locale = cmp.Or(l.Locale, "en")
	l.RegionRadius = cmp.Or(l.RegionRadius, 150)
	if l.TemperatureScale != "C" && l.TemperatureScale != "F" {
		return problem.Field("temperatureScale", "PatternError", "%.10q is not C or F", l.TemperatureScale)
	}
	if _, err := time.LoadLocation(l.TimeZoneID); err != nil {
		return problem.Field("timeZoneId", "PatternError", "%.60q is not a time zone such as Europe/Berlin", l.TimeZoneID)
	}
	return nil
}

// UpdateLocation replaces the location by what change makes of a copy of it.
func (s *Shard) UpdateLocation(ctx context.Context, p scope.Principal, at id.Location, change func(*home.Location) error) (updated *home.Location, err error) {
	err = s.commit(ctx, func() ([]records.Write, error) {
		l, err := s.find(p, "w", at)
		if err != nil {
			return nil, err
		}
		changed := *l.home
		changed.Modes, changed.Rooms = slices.Clone(l.home.Modes), slices.Clone(l.home.Rooms)
		if err := change(&changed); err != nil {
			return nil, err
		}
		if err := checkLocation(&changed); err != nil {
			return nil, err
		}
		changed.LastModified = time.Now().UTC().Truncate(time.Millisecond)
		l.home, updated = &changed, &changed
		return []records.Write{{Kind: kindLocation, ID: changed.ID.String(), Value: changed}}, nil
	})
	return updated, err
}

// DeleteLocation forgets a location that no app is installed in, with its devices.
func (s *Shard) DeleteLocation(ctx context.Context, p scope.Principal, at id.Location) error {
	return s.commit(ctx, func() ([]records.Write, error) {
		l, err := s.find(p, "w", at)
		if err != nil {
			return nil, err
		}
		if len(l.installed) > 0 {
			in := l.installed[0].app
			return nil, problem.New(problem.Conflict, "The app %s (installed app %s) is installed in %s; delete it first.", in.DisplayName, in.ID, l.home.Name).At("locationId")
		}
		var writes []records.Write
		for d := range l.devices {
			delete(s.devices, d)
			writes = append(writes, records.Write{Kind: kindDevice, ID: d.String(), Brief: true}, records.Write{Kind: kindState, ID: d.String(), Brief: true})
		}
		for _, r := range l.home.Rooms {
			delete(s.rooms, r.ID)
		}
		for scene, sc := range s.scenes {
			if sc.Location == at {
				delete(s.scenes, scene)
				writes = append(writes, records.Write{Kind: kindScene, ID: scene.String(), Brief: true})
			}
		}
		delete(s.locations, at)
		s.delivery.Forget(at)
		if owner := l.home.Owner; !owner.IsZero() {
			s.homes[owner] = slices.DeleteFunc(slices.Clone(s.homes[owner]), func(other id.Location) bool { return other == at })
		}
		return append(writes, records.Write{Kind: kindPlace, ID: at.String(), Brief: true}, records.Write{Kind: kindLocation, ID: at.String()}), nil
	})
}

// Mode returns the location's current mode.
func (s *Shard) Mode(p scope.Principal, at id.Location) (home.Mode, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	l, err := s.find(p, "r", at)
	if err != nil {
		return home.Mode{}, err
	}
	m, _ := l.home.Mode(l.Mode)
	return m, nil
}

// SetMode changes the location's current mode and journals the change. Setting the mode
// that it is in already causes no event.
func (s *Shard) SetMode(ctx context.Context, p scope.Principal, at id.Location, mode id.Mode) (m home.Mode, err error) {
	return m, s.happen(ctx, func() ([]*event.Event, error) {
		if err := p.Require(scope.Location("x", at), scope.Location("w", at)); err != nil {
			return nil, err
		}
		l := s.locations[at]
		if l == nil || !p.Sees(at) {
			return nil, noLocation(at)
		}
		var ok bool
		if m, ok = l.home.Mode(mode); !ok {
			return nil, noMode(l.home, mode)
		}
		if l.Mode == mode {
			return nil, nil
		}
		return []*event.Event{event.New(event.ModeEvent, at, mode)}, nil
	})
}

// Disarmed is the arm state of a location that was never armed (reference 3.4, 7.11).
const Disarmed = "DISARMED"

var armStates = []string{Disarmed, "ARMED_STAY", "ARMED_AWAY", "UNKNOWN"}

func checkArmState(target, state string) error {
	if !slices.Contains(armStates, state) {
		return problem.Field(target, "PatternError", "%.40q is not one of %s", state, strings.Join(armStates, ", "))
	}
	return nil
}

// ArmState returns whether the location is armed.
func (s *Shard) ArmState(p scope.Principal, at id.Location) (string, error) {
	if err := p.Require(scope.ArmState("r", at)); err != nil {
		return "", err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	l := s.locations[at]
	if l == nil || !p.Sees(at) {
		return "", noLocation(at)
	}
	return cmp.Or(l.Arm, Disarmed), nil
}

// SetArmState arms or disarms the location and journals that. What it is already causes no
// event.
func (s *Shard) SetArmState(ctx context.Context, p scope.Principal, at id.Location, to event.ArmState) error {
	return s.happen(ctx, func() ([]*event.Event, error) {
		if err := p.Require(scope.ArmState("w", at)); err != nil {
			return nil, err
		}
		l := s.locations[at]
		if l == nil || !p.Sees(at) {
			return nil, noLocation(at)
		}
		if err := checkArmState("armState", to.State); err != nil {
			return nil, err
		}
		if cmp.Or(l.Arm, Disarmed) == to.State {
			return nil, nil
		}
		e := event.New(event.SecurityArmStateEvent, at, l.Mode)
		e.Arm = &to
		return []*event.Event{e}, nil
	})
}

func noMode(l *home.Location, mode id.Mode) error {
	var modes []string
	for _, m := range l.Modes {
		modes = append(modes, m.Label+" "+m.ID.String())
	}
	return problem.New(problem.NotFound, "%s has no mode with the id %s; it has %s.", l.Name, mode, strings.Join(modes, ", ")).At("modeId")
}

// CreateMode adds a mode to the location.
func (s *Shard) CreateMode(ctx context.Context, p scope.Principal, at id.Location, label string) (home.Mode, error) {
	m := home.Mode{ID: id.New[id.Mode](), Label: label, Name: label}
	_, err := s.UpdateLocation(ctx, p, at, func(l *home.Location) error {
		if err := checkModeLabel(l, m); err != nil {
			return err
		}
		l.Modes = append(l.Modes, m)
		return nil
	})
	return m, err
}

func checkModeLabel(l *home.Location, m home.Mode) error {
	if m.Label == "" || len(m.Label) > 128 {
		return problem.Field("label", "SizeError", "has %d characters; it has 1 to 128", len(m.Label))
	}
	for _, other := range l.Modes {
		if other.ID != m.ID && strings.EqualFold(other.Label, m.Label) {
			return problem.New(problem.Conflict, "%s has a mode %q already, with the id %s.", l.Name, other.Label, other.ID).At("label")
		}
	}
	return nil
}

// RenameMode gives a mode another label.
func (s *Shard) RenameMode(ctx context.Context, p scope.Principal, at id.Location, mode id.Mode, label string) (home.Mode, error) {
	m := home.Mode{ID: mode, Label: label, Name: label}
	_, err := s.UpdateLocation(ctx, p, at, func(l *home.Location) error {
		i := slices.IndexFunc(l.Modes, func(m home.Mode) bool { return m.ID == mode })
		if i < 0 {
			return noMode(l, mode)
		}
		if err := checkModeLabel(l, m); err != nil {
			return err
		}
		l.Modes[i] = m
		return nil
	})
	return m, err
}

// DeleteMode removes a mode that the location is not in.
func (s *Shard) DeleteMode(ctx context.Context, p scope.Principal, at id.Location, mode id.Mode) error {
	_, err := s.UpdateLocation(ctx, p, at, func(l *home.Location) error {
		i := slices.IndexFunc(l.Modes, func(m home.Mode) bool { return m.ID == mode })
		if i < 0 {
			return noMode(l, mode)
		}
		if s.locations[at].Mode == mode {
			return problem.New(problem.Conflict, "%s is in the mode %q now; change the mode first.", l.Name, l.Modes[i].Label).At("modeId")
		}
		l.Modes = slices.Delete(l.Modes, i, i+1)
		return nil
	})
	return err
}

// PutRoom adds a room to its location, or replaces the one with the same id.
func (s *Shard) PutRoom(ctx context.Context, p scope.Principal, room home.Room) (home.Room, error) {
	if room.Name == "" || len(room.Name) > 128 {
		return room, problem.Field("name", "SizeError", "has %d characters; it has 1 to 128", len(room.Name))
	}
	if room.ID.IsZero() {
		room.ID = id.New[id.Room]()
	}
	_, err := s.UpdateLocation(ctx, p, room.Location, func(l *home.Location) error {
		if i := slices.IndexFunc(l.Rooms, func(r home.Room) bool { return r.ID == room.ID }); i >= 0 {
			l.Rooms[i] = room
		} else {
			l.Rooms = append(l.Rooms, room)
		}
		s.rooms[room.ID] = s.locations[room.Location]
		return nil
	})
	return room, err
}

// FindRoom returns the room, wherever it is.
func (s *Shard) FindRoom(p scope.Principal, room id.Room) (home.Room, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	l := s.rooms[room]
	if l == nil || !p.Sees(l.home.ID) {
		if err := p.Require("r:locations:*"); err != nil {
			return home.Room{}, err
		}
		return home.Room{}, problem.New(problem.NotFound, "There is no room with the id %s on this hark.", room).At("roomId")
	}
	if err := p.Require(scope.Location("r", l.home.ID)); err != nil {
		return home.Room{}, err
	}
	r, _ := l.home.Room(room)
	return r, nil
}

// DeleteRoom removes a room; its devices stay, in no room.
func (s *Shard) DeleteRoom(ctx context.Context, p scope.Principal, at id.Location, room id.Room) error {
	return s.cause(ctx, func() (writes []records.Write, events []*event.Event, err error) {
		l, err := s.find(p, "w", at)
		if err != nil {
			return nil, nil, err
		}
		i := slices.IndexFunc(l.home.Rooms, func(r home.Room) bool { return r.ID == room })
		if i < 0 {
			return nil, nil, noRoom(l.home, room)
		}
		changed := *l.home
		changed.Rooms = slices.Delete(slices.Clone(l.home.Rooms), i, i+1)
		l.home = &changed
		delete(s.rooms, room)
		writes = []records.Write{{Kind: kindLocation, ID: at.String(), Value: changed}}
		for _, d := range l.devices {
			if d.home.Room == room {
				moved := *d.home
				moved.Room = id.Room{}
				events = append(events, d.roomMove(p, moved.Room))
				d.home = &moved
				writes = append(writes, records.Write{Kind: kindDevice, ID: moved.ID.String(), Value: moved})
			}
		}
		return writes, events, nil
	})
}

func noRoom(l *home.Location, room id.Room) error {
	return problem.New(problem.NotFound, "%s has no room with the id %s.", l.Name, room).At("roomId")
}
