package lifecycle

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"time"

	"hark/internal/appcall"
	"hark/internal/apps"
	"hark/internal/directory"
	"hark/internal/envelope"
	"hark/internal/id"
	"hark/internal/problem"
	"hark/internal/scope"
	"hark/internal/shard"
)

// InstallRequest asks for an app to be installed in a location without a phone.
type InstallRequest struct {
	ID          id.InstalledApp // the zero id takes a new one
	App         id.App
	Location    id.Location
	DisplayName string
	Config      apps.Config
	// WithoutTokens issues none: the app gets its own by a code.
	WithoutTokens bool
	// Permissions are what the user grants; nil grants what follows from the app's scopes
	// and the configuration.
	Permissions scope.Set
}

// Install installs the app. A SmartApp is called with INSTALL and must answer 2xx; its
// tokens work before the call, since it calls back from within. When it does not, nothing
// of the install remains.
func (m *Manager) Install(ctx context.Context, p scope.Principal, r InstallRequest) (*apps.Installed, directory.Pair, error) {
	var none directory.Pair
	app, ok := m.directory.App(r.App)
	if !ok {
		return nil, none, problem.New(problem.NotFound, "There is no app with the id %s on this hark; GET /apps lists them.", r.App).At("appId")
	}
	if err := app.Deliverable(); err != nil && app.SmartApp() {
		return nil, none, err
	}
	permissions, err := m.permissions(p, app, r.Config, r.Permissions)
	if err != nil {
		return nil, none, err
	}
	if app.SingleInstance {
		if err := m.onlyInstance(app, r.Location); err != nil {
			return nil, none, err
		}
	}
	in, err := m.shard.Install(ctx, p, apps.Installed{
		ID: r.ID, App: app.ID, Location: r.Location, DisplayName: cmp.Or(r.DisplayName, app.DisplayName, app.Name), Config: r.Config, Permissions: permissions,
	})
	if err != nil {
		return nil, none, err
	}
	var pair directory.Pair
	if !r.WithoutTokens {
		pair, err = m.directory.IssuePair(ctx, in.ID)
	}
	if err == nil && app.SmartApp() {
		_, err = m.call(ctx, app, envelope.Install, envelope.Call{InstallData: &envelope.InstallData{
			AuthToken: pair.Access, RefreshToken: pair.Refresh, InstalledApp: envelope.Describe(app, in),
		}})
		if err != nil {
			err = refused(err, "The app did not accept INSTALL, so it is not installed")
		}
	}
	if err == nil {
		in, err = m.shard.FinishInstall(ctx, in.ID)
	}
	if err != nil {
		m.log.Warn("install failed and is taken back", "app", app.Name, "installedApp", in.ID, "err", err)
		m.takeBack(ctx, p, in.ID)
		return nil, none, err
	}
	m.log.Info("app installed", "app", app.Name, "installedApp", in.ID, "location", in.Location, "permissions", in.Permissions.Strings())
	if err := app.Deliverable(); err != nil {
		m.log.Warn("installed, but no event can be delivered yet", "app", app.Name, "because", err)
	}
	return in, pair, nil
}

// permissions returns what is granted: what was asked for, if it may be, or what follows.
// Nobody can grant what they do not hold themselves.
func (m *Manager) permissions(p scope.Principal, app *apps.App, config apps.Config, asked scope.Set) (scope.Set, error) {
	if err := config.Check(); err != nil {
		return nil, err
	}
	if asked == nil {
		asked = apps.Permissions(app.OAuth.Scope, config)
	} else if err := apps.CheckPermissions(app, asked); err != nil {
		return nil, err
	}
	if p.May("w:hark") { // the server's owner
		return asked, nil
	}
	for _, s := range asked {
		if err := p.Require(s); err != nil {
			return nil, problem.New(problem.Denied, "You cannot grant %s, since you do not hold it. %v", s, err).At("permissions")
		}
	}
	return asked, nil
}

func (m *Manager) onlyInstance(app *apps.App, at id.Location) error {
	for _, other := range m.shard.InstalledIDs() {
		if in, ok := m.shard.Installed(other); ok && in.App == app.ID && in.Location == at {
			return problem.New(problem.Conflict, "The app %s is singleInstance and installed in this location already, as %s.", app.Name, in.ID).At("appId")
		}
	}
	return nil
}

// takeBack undoes an install that failed, whether or not the request still waits.
func (m *Manager) takeBack(ctx context.Context, p scope.Principal, in id.InstalledApp) {
	ctx = context.WithoutCancel(ctx)
	if _, err := m.shard.Uninstall(ctx, p, in); err != nil {
		m.log.Error("a failed install could not be taken back; the next start does", "installedApp", in, "err", err)
	}
	m.forgetTokens(ctx, in)
}

func (m *Manager) forgetTokens(ctx context.Context, in id.InstalledApp) {
	m.directory.ForgetEventTokens(in)
	if err := m.directory.ForgetTokensOf(ctx, in); err != nil {
		m.log.Error("tokens of an app that is gone could not be deleted; they are worthless all the same", "installedApp", in, "err", err)
	}
}

// Reconfigure changes what the user configured and granted, and calls a SmartApp with
// UPDATE. When it does not answer 2xx, everything is as before.
func (m *Manager) Reconfigure(ctx context.Context, p scope.Principal, installed id.InstalledApp, config apps.Config, asked scope.Set) (*apps.Installed, error) {
	if p.IsApp() {
		return nil, problem.New(problem.Denied, "An app cannot change its own configuration or permissions; its user does, with a personal access token.")
	}
	in, err := m.shard.FindInstalled(p, installed, "w")
	if err != nil {
		return nil, err
	}
	app, ok := m.directory.App(in.App)
	if !ok {
		return nil, problem.New(problem.NotFound, "The app %s of this installed app is gone.", in.App)
	}
	if err := app.Deliverable(); err != nil && app.SmartApp() {
		return nil, err
	}
	if config == nil {
		config = in.Config
	}
	permissions, err := m.permissions(p, app, config, asked)
	if err != nil {
		return nil, err
	}
	now, before, err := m.shard.Reconfigure(ctx, installed, config, permissions)
	if err != nil {
		return nil, err
	}
	if !app.SmartApp() {
		return m.shard.Reconfigured(ctx, installed)
	}
	pair, err := m.directory.IssuePair(ctx, installed)
	if err == nil {
		previous := before.Config
		if previous == nil {
			previous = apps.Config{}
		}
		_, err = m.call(ctx, app, envelope.Update, envelope.Call{UpdateData: &envelope.UpdateData{
			AuthToken: pair.Access, RefreshToken: pair.Refresh, InstalledApp: envelope.Describe(app, now),
			PreviousConfig: previous, PreviousPermissions: before.Permissions,
		}})
	}
	if err != nil {
		m.log.Warn("update failed and is taken back", "app", app.Name, "installedApp", installed, "err", err)
		if undo := m.shard.TakeBack(context.WithoutCancel(ctx), before); undo != nil {
			m.log.Error("a failed update could not be taken back", "installedApp", installed, "err", undo)
		}
		return nil, refused(err, "The app did not accept UPDATE, so its configuration is as before")
	}
	m.log.Info("app updated", "app", app.Name, "installedApp", installed, "permissions", now.Permissions.Strings())
	return m.shard.Reconfigured(ctx, installed)
}

// Uninstall removes the installed app, its subscriptions and tokens, and then tells the
// app: a SmartApp by UNINSTALL, an API-access app by an event. The removal does not depend
// on the answer, and does not wait for it.
func (m *Manager) Uninstall(ctx context.Context, p scope.Principal, installed id.InstalledApp) error {
	farewell, err := m.shard.Uninstall(ctx, p, installed)
	if err != nil {
		return err
	}
	m.forgetTokens(ctx, installed)
	m.log.Info("app uninstalled", "installedApp", installed)
	if farewell != nil {
		m.calls.Go(func() { m.tell(farewell) })
	}
	return nil
}

// How long an app that is uninstalled is tried to be told so, and how often.
const (
	farewellPatience = 24 * time.Hour
	firstFarewell    = time.Second
	lastFarewell     = 10 * time.Minute
)

// tell says farewell to an app until it listens. What a stop cuts off, the next start goes on
// with.
func (m *Manager) tell(f *shard.Farewell) {
	for wait := firstFarewell; ; wait = min(2*wait, lastFarewell) {
		_, err := m.caller.Call(m.ctx, f.App, appcall.Message{Body: farewell(f)})
		if m.ctx.Err() != nil {
			return
		}
		if refusal, ok := errors.AsType[*appcall.Failure](err); ok && refusal.Status == http.StatusUnprocessableEntity && f.App.SmartApp() {
			err = nil // the SDK has no handler for it
		}
		late := time.Since(f.Event.Time) > farewellPatience
		if err != nil && !late {
			select {
			case <-time.After(wait):
			case <-m.ctx.Done():
				return
			}
			continue
		}
		if err != nil {
			m.log.Warn("the app could not be told that it is uninstalled", "app", f.App.Name, "installedApp", f.Installed.ID, "err", err, "triedFor", farewellPatience)
		}
		if err := m.shard.Told(m.ctx, f); err != nil && m.ctx.Err() == nil {
			m.log.Error("a farewell could not be ended; the app may be told again", "installedApp", f.Installed.ID, "err", err)
		}
		return
	}
}

func farewell(f *shard.Farewell) []byte {
	if f.App.SmartApp() {
		return envelope.Encode(f.App, envelope.Uninstall, envelope.Call{UninstallData: &envelope.UninstallData{InstalledApp: envelope.Describe(f.App, f.Installed)}})
	}
	return envelope.Events(f.App, f.Installed, "", 1, func(b []byte, _ int) []byte { return f.Event.AppendWebhook(b, "") })
}
