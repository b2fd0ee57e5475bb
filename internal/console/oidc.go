package console

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"hark/internal/pages"
)

// OIDC says by which OpenID Connect provider people may sign in.
type OIDC struct {
	Issuer, ClientID, ClientSecret string
	Name                           string // on the button
}

// provider is that provider, which need not be there when hark starts.
type provider struct {
	OIDC
	redirectURL string

	mu    sync.Mutex
	known *oidc.Provider
	trips map[string]trip // by state
}

// trip is a person on the way to the provider and back.
type trip struct {
	nonce, verifier, next string
	began                 time.Time
}

const (
	// tripLife is how long a person may take at the provider.
	tripLife = 10 * time.Minute
	maxTrips = 1000
	// stateCookie ties a trip to the browser that began it.
	stateCookie = "hark_oidc"
)

// client asks the provider what it is, once.
func (p *provider) client(ctx context.Context) (*oauth2.Config, *oidc.IDTokenVerifier, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known == nil {
		known, err := oidc.NewProvider(context.WithoutCancel(ctx), p.Issuer) // it is kept, with what it keeps of the context
		if err != nil {
			return nil, nil, fmt.Errorf("the provider %s cannot be asked: %w", p.Issuer, err)
		}
		p.known = known
	}
	return &oauth2.Config{ClientID: p.ClientID, ClientSecret: p.ClientSecret, RedirectURL: p.redirectURL, Endpoint: p.known.Endpoint(), Scopes: []string{oidc.ScopeOpenID, "profile", "email"}},
		p.known.Verifier(&oidc.Config{ClientID: p.ClientID}), nil
}

// leave sends a person to the provider.
func (c *Console) leave(w http.ResponseWriter, r *http.Request) {
	config, _, err := c.provider.client(r.Context())
	if err != nil {
		c.log.Error("nobody can sign in by OpenID Connect", "err", err)
		c.stranger(w, r, err)
		return
	}
	t, state := trip{rand.Text(), oauth2.GenerateVerifier(), pages.Next(r), time.Now()}, rand.Text()
	c.provider.keep(state, t)
	http.SetCookie(w, &http.Cookie{Name: stateCookie, Value: state, Path: "/console/", MaxAge: int(tripLife.Seconds()), HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: pages.Secure(r)})
	http.Redirect(w, r, config.AuthCodeURL(state, oidc.Nonce(t.nonce), oauth2.S256ChallengeOption(t.verifier)), http.StatusSeeOther)
}

func (p *provider) keep(state string, t trip) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, old := range p.trips {
		if time.Since(old.began) > tripLife || len(p.trips) >= maxTrips {
			delete(p.trips, key)
		}
	}
	p.trips[state] = t
}

// take ends a trip: it can be ended once.
func (p *provider) take(state string) (trip, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t, ok := p.trips[state]
	delete(p.trips, state)
	return t, ok && time.Since(t.began) <= tripLife
}

// comeBack takes a person whom the provider sends back.
func (c *Console) comeBack(w http.ResponseWriter, r *http.Request) {
	token, next, err := c.arrive(r)
	http.SetCookie(w, &http.Cookie{Name: stateCookie, Path: "/console/", MaxAge: -1})
	if err != nil {
		c.log.Warn("sign-in by OpenID Connect refused", "err", err)
		c.stranger(w, r, err)
		return
	}
	pages.Remember(w, r, token)
	http.Redirect(w, r, next, http.StatusSeeOther)
}

func (c *Console) arrive(r *http.Request) (token, next string, err error) {
	state := r.FormValue("state")
	cookie, err := r.Cookie(stateCookie)
	t, ok := c.provider.take(state)
	if err != nil || cookie.Value != state || !ok {
		return "", "", errors.New("this sign-in was not begun in this browser, or took too long; begin again")
	}
	if code := r.FormValue("error"); code != "" {
		return "", "", fmt.Errorf("the provider says %.60q: %.300q", code, r.FormValue("error_description"))
	}
	config, verifier, err := c.provider.client(r.Context())
	if err != nil {
		return "", "", err
	}
	tokens, err := config.Exchange(r.Context(), r.FormValue("code"), oauth2.VerifierOption(t.verifier))
	if err != nil {
		return "", "", fmt.Errorf("the provider gives no tokens: %w", err)
	}
	raw, _ := tokens.Extra("id_token").(string)
	identity, err := verifier.Verify(r.Context(), raw)
	if err != nil {
		return "", "", fmt.Errorf("the provider's identity token is not good: %w", err)
	}
	if identity.Nonce != t.nonce {
		return "", "", errors.New("the provider's identity token is for another sign-in")
	}
	var claims struct {
		Username string `json:"preferred_username"`
		Email    string `json:"email"`
		Verified bool   `json:"email_verified"`
	}
	if err := identity.Claims(&claims); err != nil {
		return "", "", fmt.Errorf("the provider's identity token cannot be read: %w", err)
	}
	name := claims.Username
	if claims.Email != "" && claims.Verified {
		name = claims.Email
	}
	from, _, _ := net.SplitHostPort(r.RemoteAddr)
	token, err = c.directory.SignInAs(r.Context(), identity.Issuer, identity.Subject, name, from)
	return token, t.next, err
}
