package httpapi

import (
	"cmp"
	"errors"
	"net/http"
	"strings"
	"time"

	"hark/internal/apps"
	"hark/internal/directory"
	"hark/internal/problem"
)

// oauthError is a refusal of the OAuth endpoints (RFC 6749, 5.2), which has a shape of its own.
type oauthError struct {
	Error       string `json:"error"`
	Description string `json:"error_description"`
}

// oauthRefused answers an OAuth endpoint's refusal.
func (c *call) oauthRefused(status int, code, format string, args ...any) (any, error) {
	p := problem.New(problem.Invalid, format, args...)
	c.log.Warn("OAuth request refused", "path", c.URL.Path, "error", code, "because", p.Message)
	c.answer(status, oauthError{code, p.Message})
	return nil, nil
}

// client authenticates the app that calls an OAuth endpoint. Credentials and parameters come
// by Basic authentication, in the form or in the query: clients do all of these (reference 6.2).
func (c *call) client() (*apps.App, bool) {
	c.Header().Set("Cache-Control", "no-store")
	if err := c.ParseForm(); err != nil {
		c.oauthRefused(http.StatusBadRequest, "invalid_request", "The form cannot be read: %v.", err)
		return nil, false
	}
	user, password, _ := c.BasicAuth()
	app, ok := c.directory.Client(cmp.Or(user, c.Form.Get("client_id")), cmp.Or(password, c.Form.Get("client_secret")))
	if !ok {
		c.Header().Set("WWW-Authenticate", `Basic realm="hark"`)
		c.oauthRefused(http.StatusUnauthorized, "invalid_client",
			"There is no such client, or its secret is another. They came with the app's creation; POST /apps/{appId}/oauth/generate makes a new secret.")
		return nil, false
	}
	return app, true
}

// token redeems codes and refresh tokens.
func (c *call) token() (any, error) {
	app, ok := c.client()
	if !ok {
		return nil, nil
	}
	var t *directory.Token
	var pair directory.Pair
	var err error
	switch grant := c.Form.Get("grant_type"); grant {
	case "authorization_code":
		var g directory.Grant
		g, pair, err = c.directory.RedeemCode(c.Context(), c.Form.Get("code"), app.ID, c.Form.Get("redirect_uri"), c.Form.Get("code_verifier"))
		t = &directory.Token{InstalledApp: g.InstalledApp, Scopes: g.Scopes}
	case "refresh_token":
		t, pair, err = c.directory.Redeem(c.Context(), c.Form.Get("refresh_token"), func(t *directory.Token) bool { return c.belongs(t, app) })
	default:
		return c.oauthRefused(http.StatusBadRequest, "unsupported_grant_type",
			"grant_type is %.60q; hark knows authorization_code and refresh_token. There are no client credentials here, as on the platform: a personal access token serves a program without a user.", grant)
	}
	if p, ok := errors.AsType[*problem.Error](err); ok && p.Kind == problem.Invalid {
		return c.oauthRefused(http.StatusBadRequest, "invalid_grant", "%s", p.Message)
	}
	if err != nil {
		return nil, err
	}
	if t.InstalledApp.IsZero() { // a client that acts for the person
		return personTokens{pair.Access, "bearer", pair.Refresh, secondsUntil(pair.Expires), strings.Join(t.Scopes.Strings(), " "), 0, c.directory.Account().String()}, nil
	}
	in, ok := c.shard.Installed(t.InstalledApp)
	if !ok {
		return c.oauthRefused(http.StatusBadRequest, "invalid_grant", "The installed app was deleted.")
	}
	return c.viewTokens(in, pair), nil
}

// personTokens are the tokens of a client that acts for a person, such as the command line.
type personTokens struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	RefreshToken string `json:"refresh_token"`
	ExpiresIn    int    `json:"expires_in"`
	Scope        string `json:"scope"`
	AccessTier   int    `json:"access_tier"`
	DeviceID     string `json:"device_id"`
}

func secondsUntil(at time.Time) int { return max(int(time.Until(at).Seconds()), 0) }

// belongs reports whether a token was given to the app's client.
func (c *call) belongs(t *directory.Token, app *apps.App) bool {
	if t.InstalledApp.IsZero() {
		return t.Kind != directory.Personal && t.Name == app.DisplayName
	}
	in, ok := c.shard.Installed(t.InstalledApp)
	return ok && in.App == app.ID
}

// revoke forgets a token with all that follow from the same grant (RFC 7009). A token that is
// not known is no fault.
func (c *call) revoke() (any, error) {
	app, ok := c.client()
	if !ok {
		return nil, nil
	}
	t, ok := c.directory.Lookup(c.Form.Get("token"), time.Now())
	if !ok {
		return nothing{}, nil
	}
	if !c.belongs(t, app) {
		return c.oauthRefused(http.StatusBadRequest, "invalid_grant", "The token belongs to another app's client.")
	}
	n, err := c.directory.RevokeFamily(c.Context(), t.Family)
	c.log.Info("tokens revoked by their client", "app", app.Name, "installedApp", t.InstalledApp, "tokens", n)
	return nothing{}, err
}

// introspection says what a token is good for (RFC 7662).
type introspection struct {
	Active         bool   `json:"active"`
	Scope          string `json:"scope,omitempty"`
	ClientID       string `json:"client_id,omitempty"`
	TokenType      string `json:"token_type,omitempty"`
	ExpiresAt      int64  `json:"exp,omitempty"`
	IssuedAt       int64  `json:"iat,omitempty"`
	InstalledAppID string `json:"installed_app_id,omitempty"`
}

// introspect answers about the client's own tokens; any other is not active.
func (c *call) introspect() (any, error) {
	app, ok := c.client()
	if !ok {
		return nil, nil
	}
	t, ok := c.directory.Lookup(c.Form.Get("token"), time.Now())
	if !ok || !c.belongs(t, app) {
		return introspection{}, nil
	}
	v := introspection{Active: true, ClientID: app.OAuth.ClientID, TokenType: t.Kind, ExpiresAt: t.Expires.Unix(), IssuedAt: t.Created.Unix(), Scope: strings.Join(t.Scopes.Strings(), " ")}
	if in, ok := c.shard.Installed(t.InstalledApp); ok {
		v.InstalledAppID, v.Scope = in.ID.String(), strings.Join(in.Permissions.Strings(), " ")
	}
	return v, nil
}
