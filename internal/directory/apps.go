package directory

import (
	"context"
	"crypto/subtle"
	"maps"
	"slices"
	"strings"
	"time"

	"hark/internal/apps"
	"hark/internal/id"
	"hark/internal/limits"
	"hark/internal/problem"
	"hark/internal/records"
	"hark/internal/scope"
)

// confirmationLife is how long a confirmation URL is good for (reference 10).
const confirmationLife = 24 * time.Hour

// App returns the app, which must not be changed.
func (d *Directory) App(app id.App) (*apps.App, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	a, ok := d.apps[app]
	return a, ok
}

// FindApp returns the app with the id or the name, to one who may read apps.
func (d *Directory) FindApp(p scope.Principal, nameOrID string) (*apps.App, error) {
	return d.find(p, nameOrID, "r:apps:*")
}

// OwnApp returns the app with the id or the name, to one who may change it: its developer, or
// the server's owner.
func (d *Directory) OwnApp(p scope.Principal, nameOrID string) (*apps.App, error) {
	return d.find(p, nameOrID, "w:apps:*")
}

func (d *Directory) find(p scope.Principal, nameOrID string, need scope.Scope) (*apps.App, error) {
	d.mu.RLock()
	key, err := id.Parse[id.App](nameOrID)
	if err != nil {
		key = d.appNames[nameOrID]
	}
	a, ok := d.apps[key]
	d.mu.RUnlock()
	if ok && p.App == a.ID && need == "r:apps:*" {
		return a, nil // an app may read itself
	}
	if err := p.Require(need); err != nil {
		return nil, err
	}
	if !ok {
		return nil, problem.New(problem.NotFound, "There is no app with the id or name %.260q on this hark.", nameOrID).At("appNameOrId")
	}
	if need != "r:apps:*" && !p.Account.IsZero() && a.Owner != p.Account {
		return nil, problem.New(problem.Denied, "The app %s was registered by another account, which alone can change it.", a.Name).At("appNameOrId")
	}
	return a, nil
}

// Apps returns the apps that keep accepts, sorted by name; to an account those that it
// registered.
func (d *Directory) Apps(p scope.Principal, keep func(*apps.App) bool) ([]*apps.App, error) {
	if err := p.Require("r:apps:*"); err != nil {
		return nil, err
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	var list []*apps.App
	for _, a := range d.apps {
		if (p.Account.IsZero() || a.Owner == p.Account) && keep(a) {
			list = append(list, a)
		}
	}
	slices.SortFunc(list, func(a, b *apps.App) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// CheckNewApp reports what stands against creating the app, without creating it.
func (d *Directory) CheckNewApp(p scope.Principal, a *apps.App) error {
	if err := p.Require("w:apps:*"); err != nil {
		return err
	}
	if err := a.Check(); err != nil {
		return err
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.nameIsFree(a)
}

func (d *Directory) nameIsFree(a *apps.App) error {
	if other, taken := d.appNames[a.Name]; taken && other != a.ID {
		return problem.New(problem.Conflict, "There is an app named %q already, with the id %s. App names are unique in an account.", a.Name, other).At("appName")
	}
	return nil
}

// CreateApp registers the app and returns it with the secret of its OAuth client, which is
// not kept and cannot be shown again.
func (d *Directory) CreateApp(ctx context.Context, p scope.Principal, draft *apps.App) (a *apps.App, secret string, err error) {
	if err := d.CheckNewApp(p, draft); err != nil {
		return nil, "", err
	}
	d.writing.Lock()
	defer d.writing.Unlock()
	created := *draft
	created.ID, created.Owner = id.New[id.App](), d.account
	if !p.Account.IsZero() {
		created.Owner = p.Account
	}
	created.Created = time.Now().UTC()
	created.LastUpdated = created.Created
	created.Key = d.newestRSA()
	secret = newClient(&created.OAuth)
	d.mu.RLock()
	if err = d.nameIsFree(&created); err == nil {
		err = d.room(created.Type)
	}
	d.mu.RUnlock()
	if err != nil {
		return nil, "", err
	}
	if err := d.putApp(ctx, &created); err != nil {
		return nil, "", err
	}
	return &created, secret, nil
}

// room reports that there may be no more apps. The caller holds mu.
func (d *Directory) room(appType string) error {
	same := 0
	for _, a := range d.apps {
		if a.Type == appType {
			same++
		}
	}
	if err := limits.Room(d.Limits.AppsOfAType, same, "apps of the type "+appType); err != nil {
		return err
	}
	return limits.Room(d.Limits.Apps, len(d.apps), "apps")
}

// newClient gives the OAuth client a new id, unless it has one, and a new secret.
func newClient(o *apps.OAuth) (secret string) {
	secret = id.New[id.Token]().String()
	if o.ClientID == "" {
		o.ClientID = id.New[id.Token]().String()
	}
	o.SecretHash = hash(secret)
	return secret
}

// FindClient returns the app whose OAuth client it is, and whether there is one.
func (d *Directory) FindClient(clientID string) (*apps.App, bool) {
	if clientID == apps.CLI.OAuth.ClientID {
		return apps.CLI, true
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	for _, a := range d.apps {
		if a.OAuth.ClientID == clientID && clientID != "" {
			return a, true
		}
	}
	return nil, false
}

// Client returns the app whose OAuth client it is, if the secret is right. A public client has
// none, and proves itself otherwise.
func (d *Directory) Client(clientID, secret string) (*apps.App, bool) {
	a, ok := d.FindClient(clientID)
	if !ok {
		return nil, false
	}
	if a.OAuth.Public {
		return a, secret == ""
	}
	return a, subtle.ConstantTimeCompare([]byte(a.OAuth.SecretHash), []byte(hash(secret))) == 1
}

// UpdateApp replaces the app by what change makes of a copy of it.
func (d *Directory) UpdateApp(ctx context.Context, p scope.Principal, nameOrID string, change func(*apps.App) error) (*apps.App, error) {
	d.writing.Lock()
	defer d.writing.Unlock()
	old, err := d.find(p, nameOrID, "w:apps:*")
	if err != nil {
		return nil, err
	}
	updated := *old
	updated.Settings = maps.Clone(old.Settings)
	if err := change(&updated); err != nil {
		return nil, err
	}
	if err := updated.Check(); err != nil {
		return nil, err
	}
	d.mu.RLock()
	err = d.nameIsFree(&updated)
	d.mu.RUnlock()
	if err != nil {
		return nil, err
	}
	updated.LastUpdated = time.Now().UTC()
	return &updated, d.putApp(ctx, &updated)
}

// GenerateClient replaces the secret of the app's OAuth client and returns the new one.
func (d *Directory) GenerateClient(ctx context.Context, p scope.Principal, nameOrID string, change func(*apps.OAuth)) (a *apps.App, secret string, err error) {
	a, err = d.UpdateApp(ctx, p, nameOrID, func(a *apps.App) error {
		change(&a.OAuth)
		secret = newClient(&a.OAuth)
		return nil
	})
	return a, secret, err
}

// DeleteApp forgets the app. Its installed apps must be gone.
func (d *Directory) DeleteApp(ctx context.Context, p scope.Principal, nameOrID string) error {
	d.writing.Lock()
	defer d.writing.Unlock()
	a, err := d.find(p, nameOrID, "w:apps:*")
	if err != nil {
		return err
	}
	if err := d.records.Write(ctx, records.Write{Kind: kindApp, ID: a.ID.String()}); err != nil {
		return unavailable(err)
	}
	d.mu.Lock()
	delete(d.apps, a.ID)
	delete(d.appNames, a.Name)
	d.mu.Unlock()
	return nil
}

// putApp writes the app durably and shows it. The caller holds writing.
func (d *Directory) putApp(ctx context.Context, a *apps.App) error {
	if err := d.records.Write(ctx, records.Write{Kind: kindApp, ID: a.ID.String(), Value: a}); err != nil {
		return unavailable(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if old := d.apps[a.ID]; old != nil {
		delete(d.appNames, old.Name)
	}
	d.apps[a.ID], d.appNames[a.Name] = a, a.ID
	return nil
}

// NewConfirmation makes a new confirmation token for the app's target, good for a day and
// for one use; an older one is dead from then on.
func (d *Directory) NewConfirmation(ctx context.Context, app id.App) (token string, err error) {
	token = id.New[id.Token]().String()
	return token, d.changeTarget(ctx, app, func(a *apps.App) error {
		a.ConfirmationHash, a.ConfirmationExpires = hash(token), time.Now().Add(confirmationLife)
		return nil
	})
}

// Confirm marks the app's target as confirmed if the token is the one that is out.
func (d *Directory) Confirm(ctx context.Context, app id.App, token string) (*apps.App, error) {
	err := d.changeTarget(ctx, app, func(a *apps.App) error {
		switch {
		case a.TargetStatus == apps.Confirmed:
			return nil
		case subtle.ConstantTimeCompare([]byte(a.ConfirmationHash), []byte(hash(token))) != 1:
			return problem.New(problem.Denied, "This is not the confirmation token that hark sent last to %s. PUT /apps/%s/register sends a new one.", a.TargetURL, a.ID).At("token")
		case time.Now().After(a.ConfirmationExpires):
			return problem.New(problem.Denied, "The confirmation token expired at %s. PUT /apps/%s/register sends a new one.",
				a.ConfirmationExpires.UTC().Format(time.RFC3339), a.ID).At("token")
		}
		confirm(a)
		return nil
	})
	if err != nil {
		return nil, err
	}
	a, _ := d.App(app)
	return a, nil
}

// ConfirmWithout marks the app's target as confirmed because the server's owner says so.
func (d *Directory) ConfirmWithout(ctx context.Context, app id.App) error {
	return d.changeTarget(ctx, app, func(a *apps.App) error { confirm(a); return nil })
}

func confirm(a *apps.App) {
	a.TargetStatus, a.ConfirmationHash, a.ConfirmationExpires = apps.Confirmed, "", time.Time{}
}

// changeTarget changes the state of an app's target; no principal is needed, since the
// platform itself does it.
func (d *Directory) changeTarget(ctx context.Context, app id.App, change func(*apps.App) error) error {
	d.writing.Lock()
	defer d.writing.Unlock()
	old, ok := d.App(app)
	if !ok {
		return problem.New(problem.NotFound, "There is no app with the id %s on this hark.", app).At("appId")
	}
	updated := *old
	if err := change(&updated); err != nil {
		return err
	}
	return d.putApp(ctx, &updated)
}

func unavailable(err error) error {
	return problem.New(problem.Unavailable, "The change could not be stored, so it was not made: %v.", err)
}
