package shard

import (
	"context"
	"maps"
	"slices"
	"time"

	"hark/internal/apps"
	"hark/internal/directory"
	"hark/internal/event"
	"hark/internal/eventstream"
	"hark/internal/id"
	"hark/internal/limits"
	"hark/internal/problem"
	"hark/internal/records"
	"hark/internal/scope"
)

func noInstalledApp(app id.InstalledApp) error {
	return problem.New(problem.NotFound, "There is no installed app with the id %s on this hark: it was never installed here, or it was deleted.", app).At("installedAppId")
}

// Principal returns who a bearer token stands for, with the scopes in force now.
func (s *Shard) Principal(token string) (scope.Principal, error) {
	t, err := s.directory.Token(token, time.Now(), s.InstalledIDs)
	if err != nil {
		return scope.Principal{}, err
	}
	if t.InstalledApp.IsZero() {
		p := scope.Principal{Name: "personal access token " + t.Name, Account: t.Account, Scopes: t.Scopes}
		if t.Kind == directory.Session {
			p.Name = t.Name
		}
		s.mu.RLock()
		p.Homes = s.homes[t.Account]
		s.mu.RUnlock()
		return p, nil
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	found := s.installed[t.InstalledApp]
	if found == nil {
		return scope.Principal{}, problem.New(problem.Unauthenticated, "The access token belongs to the installed app %s, which was deleted.", t.InstalledApp)
	}
	in := found.app
	p := scope.Principal{Name: "installed app " + in.DisplayName, InstalledApp: in.ID, App: in.App, Location: in.Location, Scopes: in.Permissions}
	if l := s.locations[in.Location]; l != nil {
		p.Account = l.home.Owner
	}
	return p, nil
}

// Installed returns the installed app as it is now. It must not be changed.
func (s *Shard) Installed(app id.InstalledApp) (*apps.Installed, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	in := s.installed[app]
	if in == nil {
		return nil, false
	}
	return in.app, true
}

// InstalledIDs returns the ids of all installed apps.
func (s *Shard) InstalledIDs() []id.InstalledApp {
	s.mu.RLock()
	defer s.mu.RUnlock()
	ids := make([]id.InstalledApp, 0, len(s.installed))
	for app := range s.installed {
		ids = append(ids, app)
	}
	return ids
}

// FindInstalled returns the installed app to itself, or to one with the scope "verb:installedapps".
func (s *Shard) FindInstalled(p scope.Principal, app id.InstalledApp, verb string) (*apps.Installed, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	in, err := s.own(p, app, verb)
	if err != nil {
		return nil, err
	}
	return in.app, nil
}

// own returns the installed app to itself, or to a person with the scope. The caller holds mu.
func (s *Shard) own(p scope.Principal, app id.InstalledApp, verb string) (*installed, error) {
	if p.IsApp() && p.InstalledApp != app {
		return nil, problem.New(problem.Denied, "This token belongs to the installed app %s and cannot act for %s. Use the token that %s got when it was installed or authorised.",
			p.InstalledApp, app, app).At("installedAppId")
	}
	if !p.IsApp() {
		if err := p.Require(scope.Scope(verb + ":installedapps:" + app.String())); err != nil {
			return nil, err
		}
	}
	if in := s.installed[app]; in != nil && p.Sees(in.app.Location) {
		return in, nil
	}
	return nil, noInstalledApp(app)
}

// InstalledApps returns the installed apps that the principal may read and keep accepts,
// oldest first. An installed app sees itself.
func (s *Shard) InstalledApps(p scope.Principal, keep func(*apps.Installed) bool) ([]*apps.Installed, error) {
	if !p.IsApp() {
		if err := p.Require("r:installedapps:*"); err != nil {
			return nil, err
		}
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	var list []*apps.Installed
	for l := range s.seenBy(p) {
		for _, in := range l.installed {
			if _, err := s.own(p, *in.id, "r"); err == nil && keep(in.app) {
				list = append(list, in.app)
			}
		}
	}
	slices.SortFunc(list, func(a, b *apps.Installed) int {
		if c := a.Created.Compare(b.Created); c != 0 {
			return c
		}
		return slices.Compare(a.ID[:], b.ID[:])
	})
	return list, nil
}

// Install adds an installed app with the status Installing; nothing is delivered to it until
// [Shard.FinishInstall].
func (s *Shard) Install(ctx context.Context, p scope.Principal, draft apps.Installed) (*apps.Installed, error) {
	if err := p.Require("w:installedapps:*"); err != nil {
		return nil, err
	}
	if p.IsApp() {
		return nil, problem.New(problem.Denied, "An installed app cannot install apps; use a personal access token.")
	}
	in := draft
	if in.ID.IsZero() {
		in.ID = id.New[id.InstalledApp]()
	}
	in.Configuration, in.Status = id.New[id.Configuration](), apps.Installing
	in.Created = time.Now().UTC().Truncate(time.Millisecond)
	in.LastUpdated = in.Created
	return &in, s.commit(ctx, func() ([]records.Write, error) {
		if s.installed[in.ID] != nil {
			return nil, problem.New(problem.Conflict, "The installed app %s is there already.", in.ID)
		}
		if !p.Sees(in.Location) {
			return nil, noLocation(in.Location)
		}
		if err := s.checkConfig(in.Location, in.Config); err != nil {
			return nil, err
		}
		l := s.locations[in.Location]
		if err := limits.Room(s.limits.InstalledPerLocation, len(l.installed), "installed apps in a location"); err != nil {
			return nil, err
		}
		if s.limits.InstalledPerApp > 0 {
			if err := limits.Room(s.limits.InstalledPerApp, s.installs(in.App), "installs of an app"); err != nil {
				return nil, err
			}
		}
		s.install(newInstalled(&in), l)
		return []records.Write{{Kind: kindInstalled, ID: in.ID.String(), Value: in}}, nil
	})
}

// install has an installed app be there. The caller holds mu.
func (s *Shard) install(in *installed, at *location) {
	s.installed[*in.id] = in
	at.installed = append(at.installed, in)
}

// installs counts the installs of an app. The caller holds mu.
func (s *Shard) installs(app id.App) (n int) {
	for _, in := range s.installed {
		if in.app.App == app {
			n++
		}
	}
	return n
}

// checkConfig reports a device or mode of the configuration that the location lacks. The
// caller holds mu.
func (s *Shard) checkConfig(at id.Location, config apps.Config) error {
	l := s.locations[at]
	if l == nil {
		return noLocation(at)
	}
	for setting, entries := range config {
		for _, e := range entries {
			if e.Device != nil && l.devices[e.Device.DeviceID] == nil {
				return problem.Field("config."+setting, "ConstraintViolationError", "%s has no device with the id %s", l.home.Name, e.Device.DeviceID)
			}
			if e.Mode != nil {
				if _, ok := l.home.Mode(e.Mode.ModeID); !ok {
					return problem.Field("config."+setting, "ConstraintViolationError", "%v", noMode(l.home, e.Mode.ModeID))
				}
			}
		}
	}
	return nil
}

// FinishInstall makes a new installed app one that events are delivered to.
func (s *Shard) FinishInstall(ctx context.Context, app id.InstalledApp) (*apps.Installed, error) {
	in, err := s.changeInstalled(ctx, app, event.Install, func(in *apps.Installed) error { in.Status = apps.Authorized; return nil })
	s.delivery.Wake(app)
	return in, err
}

// appEvent says what happens to an installed app. The caller holds mu.
func (s *Shard) appEvent(in *apps.Installed, kind string) *event.Event {
	e := event.New(event.InstalledAppLifecycleEvent, in.Location, s.locations[in.Location].Mode)
	e.InstalledApp, e.App = in.ID, &event.AppLifecycle{Kind: kind, App: in.App}
	return e
}

// Rename gives the installed app another display name.
func (s *Shard) Rename(ctx context.Context, p scope.Principal, app id.InstalledApp, name string) (*apps.Installed, error) {
	if _, err := s.FindInstalled(p, app, "w"); err != nil {
		return nil, err
	}
	return s.changeInstalled(ctx, app, event.Update, func(in *apps.Installed) error { in.DisplayName = name; return nil })
}

// Reconfigure replaces the configuration and permissions, and returns the installed app as
// it is and as it was. The app is asked next: [Shard.Reconfigured] or [Shard.TakeBack] ends it.
func (s *Shard) Reconfigure(ctx context.Context, app id.InstalledApp, config apps.Config, permissions scope.Set) (now, before *apps.Installed, err error) {
	now, err = s.changeInstalled(ctx, app, "", func(in *apps.Installed) error {
		was := *in
		before = &was
		in.Config, in.Permissions, in.Configuration = config, permissions, id.New[id.Configuration]()
		return s.checkConfig(in.Location, config)
	})
	return now, before, err
}

// Reconfigured says that the app took its new configuration.
func (s *Shard) Reconfigured(ctx context.Context, app id.InstalledApp) (*apps.Installed, error) {
	return s.changeInstalled(ctx, app, event.Update, func(*apps.Installed) error { return nil })
}

// TakeBack restores the configuration and permissions from before a Reconfigure that the app
// refused.
func (s *Shard) TakeBack(ctx context.Context, before *apps.Installed) error {
	_, err := s.changeInstalled(ctx, before.ID, "", func(in *apps.Installed) error {
		in.Config, in.Permissions, in.Configuration = before.Config, before.Permissions, before.Configuration
		return nil
	})
	return err
}

// changeInstalled replaces the installed app by what change makes of a copy of it, and says so
// by an event of the kind, if it has one.
func (s *Shard) changeInstalled(ctx context.Context, app id.InstalledApp, kind string, change func(*apps.Installed) error) (updated *apps.Installed, err error) {
	err = s.cause(ctx, func() ([]records.Write, []*event.Event, error) {
		in := s.installed[app]
		if in == nil {
			return nil, nil, noInstalledApp(app)
		}
		changed := *in.app
		if err := change(&changed); err != nil {
			return nil, nil, err
		}
		changed.LastUpdated = time.Now().UTC().Truncate(time.Millisecond)
		in.app, updated = &changed, &changed
		var events []*event.Event
		if kind != "" {
			events = append(events, s.appEvent(&changed, kind))
		}
		return []records.Write{{Kind: kindInstalled, ID: app.String(), Value: changed}}, events, nil
	})
	return updated, err
}

// Pause stops deliveries to an installed app; what happens waits.
func (s *Shard) Pause(ctx context.Context, app id.InstalledApp, reason string) error {
	_, err := s.changeInstalled(ctx, app, "", func(in *apps.Installed) error {
		if in.Paused == nil {
			in.Paused = &apps.Pause{Since: time.Now().UTC().Truncate(time.Millisecond), Reason: reason}
		}
		return nil
	})
	if err == nil {
		s.log.Warn("deliveries to an app are paused", "installedApp", app, "because", reason)
	}
	return err
}

// Resume lets deliveries go on, with all that waits.
func (s *Shard) Resume(ctx context.Context, app id.InstalledApp) error {
	_, err := s.changeInstalled(ctx, app, "", func(in *apps.Installed) error { in.Paused = nil; return nil })
	s.delivery.Wake(app)
	return err
}

// Farewell is an app that was uninstalled and is still to be told so.
type Farewell struct {
	App       *apps.App       `json:"app"`
	Installed *apps.Installed `json:"installed"`
	Event     *event.Event    `json:"event"`
}

// Farewells returns those that are left from before the last stop.
func (s *Shard) Farewells() []*Farewell {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Collect(maps.Values(s.farewells))
}

// Told ends a farewell.
func (s *Shard) Told(ctx context.Context, f *Farewell) error {
	return s.commit(ctx, func() ([]records.Write, error) {
		delete(s.farewells, f.Installed.ID)
		return []records.Write{{Kind: kindFarewell, ID: f.Installed.ID.String()}}, nil
	})
}

// Uninstall forgets the installed app, its subscriptions and what waits for it. It returns the
// farewell that is due, nil when the app cannot be told.
func (s *Shard) Uninstall(ctx context.Context, p scope.Principal, app id.InstalledApp) (*Farewell, error) {
	in, err := s.FindInstalled(p, app, "w")
	if err != nil {
		return nil, err
	}
	f := &Farewell{Installed: in}
	if a, ok := s.directory.App(in.App); ok && a.Deliverable() == nil && in.Status == apps.Authorized {
		f.App = a
	}
	if err := s.forget(ctx, app, f); err != nil || f.App == nil {
		return nil, err
	}
	return f, nil
}

// forget removes an installed app; with a farewell that has an App, that is kept.
func (s *Shard) forget(ctx context.Context, app id.InstalledApp, f *Farewell) error {
	return s.cause(ctx, func() ([]records.Write, []*event.Event, error) {
		in := s.installed[app]
		if in == nil {
			return nil, nil, noInstalledApp(app)
		}
		delete(s.installed, app)
		l := s.locations[in.app.Location]
		l.installed = slices.DeleteFunc(l.installed, func(other *installed) bool { return other == in })
		writes := []records.Write{{Kind: kindInstalled, ID: app.String()}, {Kind: kindCursor, ID: app.String(), Brief: true}}
		for _, g := range s.delivery.Gaps(app) {
			writes = append(writes, records.Write{Kind: kindGap, ID: gapKey(app, g), Brief: true})
		}
		for _, r := range s.delivery.Refused(app) {
			writes = append(writes, records.Write{Kind: kindRefused, ID: r.Key(), Brief: true})
		}
		s.delivery.Remove(app)
		for stream, r := range s.streams {
			if r.InstalledApp == app {
				delete(s.streams, stream)
				s.hub.Forget(stream, eventstream.ErrDeleted)
				writes = append(writes, records.Write{Kind: kindStream, ID: stream.String(), Brief: true})
			}
		}
		for _, sub := range in.subscriptions {
			s.index.Remove(sub)
			delete(s.tombstones, sub)
		}
		writes = append(writes, in.forgotten()...)
		for _, sc := range in.schedules {
			writes = append(writes, records.Write{Kind: kindSchedule, ID: scheduleKey(sc), Brief: true})
		}
		if in.app.Status != apps.Authorized {
			return writes, nil, nil // it never was installed
		}
		e := s.appEvent(in.app, event.Delete)
		if f != nil && f.App != nil {
			f.Event = e
			s.farewells[app] = f
			writes = append(writes, records.Write{Kind: kindFarewell, ID: app.String(), Value: f})
		}
		return writes, []*event.Event{e}, nil
	})
}
