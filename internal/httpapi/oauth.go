package httpapi

import (
	"cmp"
	"errors"
	"net/http"

	"hark/internal/id"
	"hark/internal/problem"
)

// oauthError is a refusal of the token endpoint (RFC 6749, 5.2), which has a shape of its own.
type oauthError struct {
	Error       string `json:"error"`
	Description string `json:"error_description"`
}

// token redeems refresh tokens. Credentials and parameters come by Basic authentication, in
// the form or in the query: clients do all of these (reference 6.2).
func (c *call) token() (any, error) {
	if err := c.ParseForm(); err != nil {
		return nil, problem.New(problem.Invalid, "The form cannot be read: %v.", err)
	}
	c.Header().Set("Cache-Control", "no-store")
	user, password, _ := c.BasicAuth()
	app, ok := c.directory.Client(cmp.Or(user, c.Form.Get("client_id")), cmp.Or(password, c.Form.Get("client_secret")))
	if !ok {
		c.Header().Set("WWW-Authenticate", `Basic realm="hark"`)
		c.answer(http.StatusUnauthorized, oauthError{"invalid_client", "There is no such client, or its secret is another. They came with the app's creation; POST /apps/{appId}/oauth/generate makes a new secret."})
		return nil, nil
	}
	if grant := c.Form.Get("grant_type"); grant != "refresh_token" {
		c.answer(http.StatusBadRequest, oauthError{"unsupported_grant_type", "This version of hark redeems refresh tokens only, not the grant type " + grant +
			". POST /installedapps installs an app and answers with its first tokens."})
		return nil, nil
	}
	installed, pair, err := c.directory.Redeem(c.Context(), c.Form.Get("refresh_token"), func(in id.InstalledApp) bool {
		i, ok := c.shard.Installed(in)
		return ok && i.App == app.ID
	})
	if p, ok := errors.AsType[*problem.Error](err); ok && p.Kind == problem.Invalid {
		c.log.Warn("refresh token refused", "app", app.Name, "because", p.Message)
		c.answer(http.StatusBadRequest, oauthError{"invalid_grant", p.Message})
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	in, ok := c.shard.Installed(installed)
	if !ok {
		c.answer(http.StatusBadRequest, oauthError{"invalid_grant", "The installed app was deleted."})
		return nil, nil
	}
	return viewTokens(in, pair), nil
}
