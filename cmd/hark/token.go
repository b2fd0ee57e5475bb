package main

import (
	"fmt"
	"net/http"
	"text/tabwriter"
	"time"
)

type tokenCommand struct {
	Create tokenCreate `cmd:"" help:"Make a personal access token, whether or not the server is running, and print it. It cannot be shown again."`
	List   tokenList   `cmd:"" help:"List the personal access tokens."`
	Revoke tokenRevoke `cmd:"" help:"Revoke a personal access token."`
}

type tokenCreate struct {
	Name   string        `help:"What the token is for." default:"token"`
	Scopes []string      `help:"What it may do, such as r:devices:*. Default: everything." name:"scope" placeholder:"SCOPE"`
	Life   time.Duration `help:"How long it is good; 0 is for ever." default:"0"`
}

type tokenList struct{}

type tokenRevoke struct {
	ID string `arg:"" help:"The token's id, from hark token list."`
}

// tokenJSON is a token as the server shows it.
type tokenJSON struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Scopes  []string  `json:"scopes"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
	Token   string    `json:"token"`
}

// Run implements the command.
func (t *tokenCreate) Run(in *invocation) error {
	var made tokenJSON
	err := control(in, http.MethodPost, "/hark/v1/tokens", map[string]any{"name": t.Name, "scopes": t.Scopes, "expiresIn": int64(t.Life.Seconds())}, &made)
	if err != nil {
		return err
	}
	fmt.Fprintln(in.stdout, made.Token)
	return nil
}

// Run implements the command.
func (t *tokenList) Run(in *invocation) error {
	var list struct {
		Items []tokenJSON `json:"items"`
	}
	if err := control(in, http.MethodGet, "/hark/v1/tokens", nil, &list); err != nil {
		return err
	}
	w := tabwriter.NewWriter(in.stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tNAME\tCREATED\tEXPIRES\tSCOPES")
	for _, t := range list.Items {
		expires := "never"
		if !t.Expires.IsZero() {
			expires = t.Expires.Format(time.RFC3339)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\n", t.ID, t.Name, t.Created.Format(time.RFC3339), expires, len(t.Scopes))
	}
	return w.Flush()
}

// Run implements the command.
func (t *tokenRevoke) Run(in *invocation) error {
	return control(in, http.MethodDelete, "/hark/v1/tokens/"+t.ID, nil, nil)
}
