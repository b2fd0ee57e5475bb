package shard

import (
	"context"
	"slices"
	"time"

	"hark/internal/apps"
	"hark/internal/directory"
	"hark/internal/eventstream"
	"hark/internal/id"
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
	if t.Kind == directory.Personal {
		return scope.Principal{Name: "personal access token " + t.Name, Scopes: t.Scopes}, nil
	}
	in, ok := s.Installed(t.InstalledApp)
	if !ok {
		return scope.Principal{}, problem.New(problem.Unauthenticated, "The access token belongs to the installed app %s, which was deleted.", t.InstalledApp)
	}
	return scope.Principal{Name: "installed app " + in.DisplayName, InstalledApp: in.ID, App: in.App, Location: in.Location, Scopes: in.Permissions}, nil
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
	if in := s.installed[app]; in != nil {
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
	for app, in := range s.installed {
		if _, err := s.own(p, app, "r"); err == nil && keep(in.app) {
			list = append(list, in.app)
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
	in.ID, in.Configuration, in.Status = id.New[id.InstalledApp](), id.New[id.Configuration](), apps.Installing
	in.Created = time.Now().UTC().Truncate(time.Millisecond)
	in.LastUpdated = in.Created
	return &in, s.commit(ctx, func() ([]records.Write, error) {
		if err := s.checkConfig(in.Location, in.Config); err != nil {
			return nil, err
		}
		s.installed[in.ID] = &installed{app: &in}
		return []records.Write{{Kind: kindInstalled, ID: in.ID.String(), Value: in}}, nil
	})
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
	in, err := s.changeInstalled(ctx, app, func(in *apps.Installed) error { in.Status = apps.Authorized; return nil })
	s.delivery.Wake(app)
	return in, err
}

// Rename gives the installed app another display name.
func (s *Shard) Rename(ctx context.Context, p scope.Principal, app id.InstalledApp, name string) (*apps.Installed, error) {
	if _, err := s.FindInstalled(p, app, "w"); err != nil {
		return nil, err
	}
	return s.changeInstalled(ctx, app, func(in *apps.Installed) error { in.DisplayName = name; return nil })
}

// Reconfigure replaces the configuration and permissions, and returns the installed app as
// it is and as it was.
func (s *Shard) Reconfigure(ctx context.Context, app id.InstalledApp, config apps.Config, permissions scope.Set) (now, before *apps.Installed, err error) {
	now, err = s.changeInstalled(ctx, app, func(in *apps.Installed) error {
		was := *in
		before = &was
		in.Config, in.Permissions, in.Configuration = config, permissions, id.New[id.Configuration]()
		return s.checkConfig(in.Location, config)
	})
	return now, before, err
}

// TakeBack restores the configuration and permissions from before a Reconfigure that the app
// refused.
func (s *Shard) TakeBack(ctx context.Context, before *apps.Installed) error {
	_, err := s.changeInstalled(ctx, before.ID, func(in *apps.Installed) error {
		in.Config, in.Permissions, in.Configuration = before.Config, before.Permissions, before.Configuration
		return nil
	})
	return err
}

// changeInstalled replaces the installed app by what change makes of a copy of it.
func (s *Shard) changeInstalled(ctx context.Context, app id.InstalledApp, change func(*apps.Installed) error) (updated *apps.Installed, err error) {
	err = s.commit(ctx, func() ([]records.Write, error) {
		in := s.installed[app]
		if in == nil {
			return nil, noInstalledApp(app)
		}
		changed := *in.app
		if err := change(&changed); err != nil {
			return nil, err
		}
		changed.LastUpdated = time.Now().UTC().Truncate(time.Millisecond)
		in.app, updated = &changed, &changed
		return []records.Write{{Kind: kindInstalled, ID: app.String(), Value: changed}}, nil
	})
	return updated, err
}

// Uninstall forgets the installed app, its subscriptions and what waits for it, and returns
// it as it was.
func (s *Shard) Uninstall(ctx context.Context, p scope.Principal, app id.InstalledApp) (*apps.Installed, error) {
	in, err := s.FindInstalled(p, app, "w")
	if err != nil {
		return nil, err
	}
	return in, s.forget(ctx, app)
}

func (s *Shard) forget(ctx context.Context, app id.InstalledApp) error {
	return s.commit(ctx, func() ([]records.Write, error) {
		in := s.installed[app]
		if in == nil {
			return nil, noInstalledApp(app)
		}
		delete(s.installed, app)
		writes := []records.Write{{Kind: kindInstalled, ID: app.String()}, {Kind: kindCursor, ID: app.String()}}
		for _, g := range s.delivery.Gaps(app) {
			writes = append(writes, records.Write{Kind: kindGap, ID: gapKey(app, g)})
		}
		s.delivery.Remove(app)
		for stream, r := range s.streams {
			if r.InstalledApp == app {
				delete(s.streams, stream)
				s.hub.End(stream, eventstream.ErrDeleted)
				writes = append(writes, records.Write{Kind: kindStream, ID: stream.String()})
			}
		}
		for _, sub := range in.subscriptions {
			s.index.Remove(sub)
			delete(s.tombstones, sub)
			writes = append(writes, records.Write{Kind: kindSubscription, ID: sub.ID.String()})
		}
		return writes, nil
	})
}
