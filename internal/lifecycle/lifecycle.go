// Package lifecycle carries out what involves an app's own code: proving its target,
// installing, updating and uninstalling it. It orders the steps between the directory, the
// shard and the call to the app so that nothing is left half done, and decides nothing about
// events.
package lifecycle

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"sync"

	"hark/internal/appcall"
	"hark/internal/apps"
	"hark/internal/directory"
	"hark/internal/envelope"
	"hark/internal/id"
	"hark/internal/problem"
	"hark/internal/scope"
	"hark/internal/shard"
)

// The policies of AutoConfirm.
const (
	ConfirmNone     = "none"     // a target is confirmed by opening its confirmation URL
	ConfirmLoopback = "loopback" // a target on this machine needs no proof
	ConfirmAny      = "any"      // no target needs proof
)

// Manager carries out lifecycles. It is safe for concurrent use.
type Manager struct {
	log         *slog.Logger
	directory   *directory.Directory
	shard       *shard.Shard
	caller      *appcall.Caller
	baseURL     string // where this server is reached, for confirmation URLs
	autoConfirm string

	ctx    context.Context // of calls that nobody waits for
	cancel context.CancelFunc
	calls  sync.WaitGroup
}

// New returns a manager. The caller closes it before what it is built on.
func New(ctx context.Context, log *slog.Logger, dir *directory.Directory, s *shard.Shard, caller *appcall.Caller, baseURL, autoConfirm string) *Manager {
	m := &Manager{log: log.With("component", "lifecycle"), directory: dir, shard: s, caller: caller, baseURL: baseURL, autoConfirm: autoConfirm}
	m.ctx, m.cancel = context.WithCancel(context.WithoutCancel(ctx)) // Close ends it
	return m
}

// Start goes on with what the last stop cut off.
func (m *Manager) Start() {
	for _, f := range m.shard.Farewells() {
		m.calls.Go(func() { m.tell(f) })
	}
}

// Close breaks off the calls that nobody waits for.
func (m *Manager) Close() {
	m.cancel()
	m.calls.Wait()
}

// CreateApp registers an app. With confirmation its target starts PENDING and is sent a
// CONFIRMATION; without, a SmartApp must answer a PING now, as on the older platform
// (reference 4.2).
func (m *Manager) CreateApp(ctx context.Context, p scope.Principal, draft *apps.App, confirmation bool) (*apps.App, string, error) {
	draft.Ping = !confirmation && draft.SmartApp()
	if err := m.directory.CheckNewApp(p, draft); err != nil {
		return nil, "", err
	}
	if draft.TargetURL != "" {
		draft.TargetStatus = apps.Pending
	}
	if draft.Ping {
		if err := m.ping(ctx, draft); err != nil {
			return nil, "", err
		}
		draft.TargetStatus = apps.Confirmed
	}
	app, secret, err := m.directory.CreateApp(ctx, p, draft)
	if err != nil {
		return nil, "", err
	}
	app, err = m.prove(ctx, app)
	return app, secret, err
}

// UpdateApp changes an app. A new target has to be proved like the first one.
func (m *Manager) UpdateApp(ctx context.Context, p scope.Principal, nameOrID string, change func(*apps.App) error) (*apps.App, error) {
	old, err := m.directory.FindApp(p, nameOrID)
	if err != nil {
		return nil, err
	}
	draft := *old
	if err := change(&draft); err != nil {
		return nil, err
	}
	moved := draft.TargetURL != old.TargetURL
	if moved && draft.Ping {
		if err := draft.Check(); err != nil {
			return nil, err
		}
		if err := m.ping(ctx, &draft); err != nil {
			return nil, err
		}
	}
	app, err := m.directory.UpdateApp(ctx, p, nameOrID, func(a *apps.App) error {
		if err := change(a); err != nil {
			return err
		}
		switch {
		case a.TargetURL == "":
			a.TargetStatus = ""
		case moved && !a.Ping:
			a.TargetStatus = apps.Pending
		}
		return nil
	})
	if err != nil || !moved {
		return app, err
	}
	app, err = m.prove(ctx, app)
	m.wake(draft.ID) // what waits because of the old target need not wait out its delay
	return app, err
}

// Register sends a new CONFIRMATION to a target that is PENDING.
func (m *Manager) Register(ctx context.Context, p scope.Principal, nameOrID string) error {
	app, err := m.directory.OwnApp(p, nameOrID)
	if err != nil {
		return err
	}
	switch {
	case app.TargetURL == "":
		return problem.New(problem.Constraint, "App %s has no target URL to confirm.", app.Name).At("targetUrl")
	case app.TargetStatus == apps.Confirmed:
		return problem.New(problem.Constraint, "The target %s of app %s is CONFIRMED already; there is nothing to do.", app.TargetURL, app.Name).At("targetStatus")
	}
	_, err = m.prove(ctx, app)
	return err
}

// Confirm takes a visit to a confirmation URL.
func (m *Manager) Confirm(ctx context.Context, app id.App, token string) (*apps.App, error) {
	a, err := m.directory.Confirm(ctx, app, token)
	if err == nil {
		m.log.Info("target confirmed: events are delivered from now on", "app", a.Name, "target", a.TargetURL)
		m.wake(app)
	}
	return a, err
}

// ConfirmWithout marks an app's target as confirmed on the word of the server's owner.
func (m *Manager) ConfirmWithout(ctx context.Context, p scope.Principal, nameOrID string) (*apps.App, error) {
	if err := p.Require("w:hark"); err != nil {
		return nil, err
	}
	app, err := m.directory.FindApp(p, nameOrID)
	if err != nil {
		return nil, err
	}
	return m.confirmed(ctx, app, "the server's owner said so")
}

func (m *Manager) confirmed(ctx context.Context, app *apps.App, because string) (*apps.App, error) {
	if err := m.directory.ConfirmWithout(ctx, app.ID); err != nil {
		return nil, err
	}
	m.log.Info("target confirmed: events are delivered from now on", "app", app.Name, "target", app.TargetURL, "because", because)
	m.wake(app.ID)
	app, _ = m.directory.App(app.ID)
	return app, nil
}

// wake lets events that waited for the app's target go.
func (m *Manager) wake(app id.App) {
	for _, in := range m.shard.InstalledIDs() {
		if i, ok := m.shard.Installed(in); ok && i.App == app {
			m.shard.Delivery().Wake(in)
		}
	}
}

// prove starts the proof of a target that is PENDING: it sends a CONFIRMATION without
// waiting for an answer (reference 4.3), and skips the wait where the policy allows.
func (m *Manager) prove(ctx context.Context, app *apps.App) (*apps.App, error) {
	if app.TargetURL == "" || app.TargetStatus != apps.Pending {
		return app, nil
	}
	token, err := m.directory.NewConfirmation(ctx, app.ID)
	if err != nil {
		return nil, err
	}
	confirmation := fmt.Sprintf("%s/v1/apps/%s/confirm-registration?token=%s", m.baseURL, app.ID, token)
	m.log.Warn("target is PENDING: nothing is delivered to it until its confirmation URL is opened", "app", app.Name, "target", app.TargetURL, "open", confirmation)
	m.calls.Go(func() {
		_, err := m.call(m.ctx, app, envelope.Confirmation,
			envelope.Call{ConfirmationData: &envelope.ConfirmationData{AppID: app.ID, ConfirmationURL: confirmation}})
		if err != nil && m.ctx.Err() == nil {
			m.log.Info("no answer to CONFIRMATION; the official Node SDK never gives one, it logs the URL instead", "app", app.Name, "err", err)
		}
	})
	if m.autoConfirm == ConfirmAny || m.autoConfirm == ConfirmLoopback && onLoopback(app.TargetURL) {
		return m.confirmed(ctx, app, "of the auto-confirm policy "+m.autoConfirm)
	}
	pending, _ := m.directory.App(app.ID)
	return pending, nil
}

func onLoopback(target string) bool {
	u, err := url.Parse(target)
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

// ping asks a SmartApp to answer a challenge.
func (m *Manager) ping(ctx context.Context, app *apps.App) error {
	challenge := id.New[id.Event]().String()
	answer, err := m.call(ctx, app, envelope.Ping, envelope.Call{PingData: &envelope.PingData{Challenge: challenge}})
	if err != nil {
		return refused(err, "The app's target does not answer a PING, so the app is not created")
	}
	var got struct {
		PingData envelope.PingData `json:"pingData"`
	}
	if err := json.Unmarshal(answer, &got); err != nil || got.PingData.Challenge != challenge {
		f := &appcall.Failure{Code: "TargetNon200Error", Target: app.TargetURL,
			Message: fmt.Sprintf("%s did not give back pingData.challenge; it answered %.200q", app.TargetURL, answer)}
		return f.Problem("The app's target does not answer a PING, so the app is not created")
	}
	return nil
}

// refused turns a failed call into the refusal of the request that needed it.
func refused(err error, what string) error {
	if f, ok := err.(*appcall.Failure); ok { // Call returns it unwrapped
		return f.Problem(what)
	}
	return problem.New(problem.Unavailable, "%s: %v.", what, err)
}

// DeleteApp uninstalls the app everywhere and forgets it.
func (m *Manager) DeleteApp(ctx context.Context, p scope.Principal, nameOrID string) error {
	app, err := m.directory.OwnApp(p, nameOrID)
	if err != nil {
		return err
	}
	own := scope.Principal{Name: p.Name, Scopes: scope.All} // in whoever's home it is installed
	for _, in := range m.shard.InstalledIDs() {
		if i, ok := m.shard.Installed(in); ok && i.App == app.ID {
			if err := m.Uninstall(ctx, own, in); err != nil {
				return err
			}
		}
	}
	return m.directory.DeleteApp(ctx, p, app.ID.String())
}

// call asks the app once, and returns what it answers.
func (m *Manager) call(ctx context.Context, app *apps.App, lifecycle envelope.Lifecycle, content envelope.Call) ([]byte, error) {
	answer, err := m.caller.Call(ctx, app, appcall.Message{Body: envelope.Encode(app, lifecycle, content)})
	return answer.Body, err
}
