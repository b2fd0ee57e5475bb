// Package directory owns what belongs to no location: apps as developers registered them,
// tokens, secrets, custom capabilities and device profiles. It writes each change durably
// before it shows it. It never calls an app.
package directory

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"hark/internal/apps"
	"hark/internal/capability"
	"hark/internal/engine"
	"hark/internal/home"
	"hark/internal/id"
	"hark/internal/limits"
	"hark/internal/records"
	"hark/internal/signature"
)

// Directory is open for one process. It is safe for concurrent use.
type Directory struct {
	// Capabilities knows the standard capabilities and the custom ones of the directory.
	Capabilities *capability.Registry
	// Limits are the guardrails of apps; set before the directory is used.
	Limits limits.Limits

	log     *slog.Logger
	records *records.Store
	account id.Account

	writing sync.Mutex // held over each read-change-write, so that none is lost

	mu       sync.RWMutex
	apps     map[id.App]*apps.App
	appNames map[string]id.App
	profiles map[id.Profile]*home.Profile
	tokens   map[string]*Token // by hash
	events   eventTokens
	grants   grants
	people   accounts

	keys     []*signature.Key // in the order in which they were made; guarded by mu
	keyReady chan struct{}    // closed when there is one of each algorithm, or keyErr
	keyErr   error
	wait     sync.WaitGroup
}

// The kinds of record.
const (
	kindAccount    = "account"
	kindApp        = "app"
	kindToken      = "token"
	kindSecret     = "secret"
	kindCapability = "capability"
	kindProfile    = "profile"
	kindPerson     = "person"
	kindKey        = "signingkey" // PEM
)

const (
	secretEvents = "events" // the secret that event tokens are made with
)

// Open loads the directory. A missing signing key is made in the background; Close waits.
func Open(ctx context.Context, e *engine.Engine, log *slog.Logger) (*Directory, error) {
	store, err := records.Open(ctx, e, "directory")
	if err != nil {
		return nil, fmt.Errorf("open directory: %w", err)
	}
	d := &Directory{
		Capabilities: capability.NewRegistry(), log: log.With("component", "directory"), records: store,
		apps: map[id.App]*apps.App{}, appNames: map[string]id.App{}, profiles: map[id.Profile]*home.Profile{},
		tokens: map[string]*Token{}, keyReady: make(chan struct{}),
		people: accounts{byName: map[string]*Account{}},
	}
	secrets := map[string]string{}
	if err := store.Load(ctx, func(kind, key string, data []byte) error { return d.load(kind, key, data, secrets) }); err != nil {
		store.Close()
		return nil, fmt.Errorf("load directory: %w", err)
	}
	if err := d.prepare(ctx, secrets); err != nil {
		store.Close()
		return nil, fmt.Errorf("open directory: %w", err)
	}
	return d, nil
}

func (d *Directory) load(kind, key string, data []byte, secrets map[string]string) error {
	var err error
	switch kind {
	case kindAccount:
		d.account, err = id.Parse[id.Account](key)
	case kindApp:
		a := new(apps.App)
		if err = json.Unmarshal(data, a); err == nil {
			d.apps[a.ID], d.appNames[a.Name] = a, a.ID
		}
	case kindToken:
		t := new(Token)
		if err = json.Unmarshal(data, t); err == nil {
			d.tokens[key] = t
		}
	case kindPerson:
		a := new(Account)
		if err = json.Unmarshal(data, a); err == nil {
			d.people.byName[strings.ToLower(a.Name)] = a
		}
	case kindSecret:
		var s string
		err = json.Unmarshal(data, &s)
		secrets[key] = s
	case kindKey:
		var text string
		if err = json.Unmarshal(data, &text); err == nil {
			var k *signature.Key
			k, err = signature.Decode(text)
			d.keys = append(d.keys, k)
		}
	case kindCapability:
		c := new(capability.Capability)
		if err = json.Unmarshal(data, c); err == nil {
			d.Capabilities.Put(c)
		}
	case kindProfile:
		p := new(home.Profile)
		if err = json.Unmarshal(data, p); err == nil {
			d.profiles[p.ID] = p
		}
	}
	if err != nil {
		return fmt.Errorf("record %s.%s: %w", kind, key, err)
	}
	return nil
}

// prepare makes what a new directory lacks.
func (d *Directory) prepare(ctx context.Context, secrets map[string]string) error {
	if d.account.IsZero() {
		d.account = id.New[id.Account]()
		if err := d.records.Write(ctx, records.Write{Kind: kindAccount, ID: d.account.String(), Value: struct{}{}}); err != nil {
			return err
		}
	}
	if secrets[secretEvents] == "" {
		secrets[secretEvents] = newSecret()
		if err := d.records.Write(ctx, records.Write{Kind: kindSecret, ID: secretEvents, Value: secrets[secretEvents]}); err != nil {
			return err
		}
	}
	d.events.secret = []byte(secrets[secretEvents])
	if len(d.keys) > 0 {
		close(d.keyReady)
		return nil
	}
	d.wait.Go(func() {
		defer close(d.keyReady)
		if d.keyErr = d.makeKeys(context.WithoutCancel(ctx)); d.keyErr != nil {
			d.log.Error("no signing key, so nothing can be delivered", "err", d.keyErr)
		}
	})
	return nil
}

// Close waits until what was written is durable.
func (d *Directory) Close() {
	d.wait.Wait()
	d.records.Close()
}

// Err returns why the directory takes no more changes, nil while it does.
func (d *Directory) Err() error { return d.records.Err() }

// Account returns the one account that owns everything.
func (d *Directory) Account() id.Account { return d.account }
