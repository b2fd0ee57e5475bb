package directory

import (
	"context"
	"fmt"
	"slices"
	"time"

	"hark/internal/apps"
	"hark/internal/problem"
	"hark/internal/records"
	"hark/internal/scope"
	"hark/internal/signature"
)

// makeKeys makes and keeps one key of each algorithm, which sign from then on.
func (d *Directory) makeKeys(ctx context.Context) error {
	var made []*signature.Key
	var writes []records.Write
	for _, algorithm := range []signature.Algorithm{signature.RSA, signature.ECDSA} {
		k, err := signature.Generate(algorithm, time.Now())
		if err != nil {
			return err
		}
		made = append(made, k)
		writes = append(writes, records.Write{Kind: kindKey, ID: k.Name(), Value: k.Encode()})
	}
	if err := d.records.Write(ctx, writes...); err != nil {
		return unavailable(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.keys = append(d.keys, made...)
	return nil
}

// RotateKeys makes new signing keys, which sign from now on. Old ones stay at the key server;
// apps that verify by a public key they were given (APP_RSA) stay with theirs until they are
// given another.
func (d *Directory) RotateKeys(ctx context.Context, p scope.Principal) ([]*signature.Key, error) {
	if err := mayRotate(p); err != nil {
		return nil, err
	}
	if err := d.ready(ctx); err != nil {
		return nil, err
	}
	d.writing.Lock()
	defer d.writing.Unlock()
	if err := d.makeKeys(ctx); err != nil {
		return nil, err
	}
	d.log.Info("new signing keys", "by", p.Name)
	return d.Keys(ctx)
}

func mayRotate(p scope.Principal) error {
	if !p.Account.IsZero() || !p.InstalledApp.IsZero() {
		return problem.New(problem.Denied, "The signing keys are those of the whole server: its owner alone rotates them, by `hark keys rotate` beside the data directory or with a token made there.")
	}
	return p.Require("w:apps:*")
}

// Keys returns the signing keys, newest first.
func (d *Directory) Keys(ctx context.Context) ([]*signature.Key, error) {
	if err := d.ready(ctx); err != nil {
		return nil, err
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	list := slices.Clone(d.keys)
	slices.Reverse(list)
	return list, nil
}

// ready waits for the very first keys.
func (d *Directory) ready(ctx context.Context) error {
	select {
	case <-d.keyReady:
		return d.keyErr
	case <-ctx.Done():
		return fmt.Errorf("wait for the signing key: %w", ctx.Err())
	}
}

// KeyOf returns the key of the algorithm that signs calls to the app: the newest, but under
// APP_RSA the one whose public key the app was given. On the very first start it may have to wait.
func (d *Directory) KeyOf(ctx context.Context, a *apps.App, algorithm signature.Algorithm) (*signature.Key, error) {
	if err := d.ready(ctx); err != nil {
		return nil, err
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	var key *signature.Key
	for _, k := range d.keys {
		switch {
		case k.Algorithm != algorithm:
		case a.SignatureType == apps.AppRSA && algorithm == signature.RSA && (k.Name() == a.Key || a.Key == ""):
			return k, nil // without a name it is the first one
		default:
			key = k
		}
	}
	return key, nil
}

// FindKey returns the signing key with the keyId of ST_PADLOCK, old ones included.
func (d *Directory) FindKey(ctx context.Context, keyID string) (*signature.Key, error) {
	if err := d.ready(ctx); err != nil {
		return nil, err
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	for _, k := range d.keys {
		if k.ID() == keyID {
			return k, nil
		}
	}
	return nil, problem.New(problem.NoPath, "This server never signed with the key %.200s; it signs with %s now.", keyID, d.keys[len(d.keys)-1].ID())
}

// newestRSA returns the name of the key that apps are given from now on, "" for the first one.
func (d *Directory) newestRSA() string {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for _, k := range slices.Backward(d.keys) {
		if k.Algorithm == signature.RSA {
			return k.Name()
		}
	}
	return ""
}

// SetSignatureType says how the app verifies calls. APP_RSA gives it the newest key.
func (d *Directory) SetSignatureType(ctx context.Context, p scope.Principal, nameOrID, signatureType string) (*apps.App, error) {
	return d.UpdateApp(ctx, p, nameOrID, func(a *apps.App) error {
		a.SignatureType, a.Key = signatureType, d.newestRSA()
		return nil
	})
}
