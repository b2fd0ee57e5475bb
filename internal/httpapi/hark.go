package httpapi

import (
	"time"

	"hark/internal/directory"
	"hark/internal/id"
	"hark/internal/problem"
	"hark/internal/scope"
)

// livez is green while the process answers: what it is red for, a restart would mend.
func (c *call) livez() (any, error) { return map[string]string{"status": "alive"}, nil }

// readyz is red when the server cannot take or deliver events. healthz is the same here; where a
// server stands by, it is green.
func (c *call) readyz() (any, error) {
	if err := c.ready(); err != nil {
		return nil, problem.New(problem.Unavailable, "hark is not ready: %v.", err)
	}
	return map[string]string{"status": "ok"}, nil
}

type tokenView struct {
	ID      id.Token  `json:"id"`
	Name    string    `json:"name"`
	Scopes  scope.Set `json:"scopes"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"`
	Token   string    `json:"token,omitempty"` // only when it is made
}

func viewToken(t *directory.Token) any {
	return tokenView{ID: t.ID, Name: t.Name, Scopes: t.Scopes, Created: t.Created, Expires: t.Expires}
}

func (c *call) listTokens() (any, error) {
	list, err := c.directory.Personals(c.principal)
	if err != nil {
		return nil, err
	}
	return paged(c, list, viewToken)
}

func (c *call) createToken() (any, error) {
	var body struct {
		Name      string   `json:"name"`
		Scopes    []string `json:"scopes"`
		ExpiresIn int64    `json:"expiresIn"` // seconds; 0 never
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if err := directory.MayKeepTokens(c.principal); err != nil {
		return nil, err
	}
	scopes, err := scope.ParseSet(body.Scopes)
	if err != nil {
		return nil, err
	}
	const century = 100 * 365 * 24 * 3600
	if body.ExpiresIn < 0 || body.ExpiresIn > century {
		return nil, problem.Field("expiresIn", "SizeError", "is %d; it is a number of seconds, at most a hundred years, and 0 is for ever", body.ExpiresIn)
	}
	token, t, err := c.directory.CreatePersonal(c.Context(), c.principal, body.Name, scopes, time.Duration(body.ExpiresIn)*time.Second)
	if err != nil {
		return nil, err
	}
	v := viewToken(t).(tokenView)
	v.Token = token
	return v, nil
}

func (c *call) revokeToken() (any, error) {
	token, err := pathID[id.Token](c, "token")
	if err != nil {
		return nil, err
	}
	return nothing{}, c.directory.Revoke(c.Context(), c.principal, token)
}

type accountView struct {
	ID      id.Account `json:"accountId"`
	Name    string     `json:"name"`
	Created time.Time  `json:"created"`
}

func viewAccount(a *directory.Account) any { return accountView{a.ID, a.Name, a.Created} }

func (c *call) listAccounts() (any, error) {
	list, err := c.directory.Accounts(c.principal)
	if err != nil {
		return nil, err
	}
	return paged(c, list, viewAccount)
}

type accountBody struct {
	Name     string `json:"name"`
	Password string `json:"password"`
}

func (c *call) createAccount() (any, error) {
	var body accountBody
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	a, err := c.directory.CreateAccount(c.Context(), c.principal, body.Name, body.Password)
	if err != nil {
		return nil, err
	}
	return viewAccount(a), nil
}

func (c *call) setPassword() (any, error) {
	var body accountBody
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	return nothing{}, c.directory.SetPassword(c.Context(), c.principal, c.PathValue("account"), body.Password)
}

func (c *call) deleteAccount() (any, error) {
	return nothing{}, c.directory.DeleteAccount(c.Context(), c.principal, c.PathValue("account"))
}
