package console

import (
	_ "embed"
	"net/http"
	"strconv"
	"strings"
	"time"

	"hark/internal/directory"
	"hark/internal/id"
	"hark/internal/pages"
	"hark/internal/problem"
	"hark/internal/scope"
)

//go:embed tokens.html
var tokensContent string

var tokensPage = pages.Parse(tokensContent)

type tokensView struct {
	pages.Frame
	Tokens []*directory.Token
	Made   string // a new token, shown once
}

// tokens shows the visitor's personal access tokens, makes one or revokes one.
func (c *Console) tokens(w http.ResponseWriter, r *http.Request) {
	p, err := pages.Visitor(c.shard, r)
	if err != nil {
		http.Redirect(w, r, pages.SignInPath("/console/tokens"), http.StatusSeeOther)
		return
	}
	v := tokensView{Frame: pages.Frame{Title: "Tokens", Visitor: p.Name}}
	status := http.StatusOK
	if r.Method == http.MethodPost {
		if v.Made, err = c.changeTokens(p, r); err != nil {
			v.Message, status = err.Error(), http.StatusUnprocessableEntity
		}
	}
	if v.Tokens, err = c.directory.Personals(p); err != nil {
		v.Message, status = err.Error(), http.StatusForbidden
	}
	pages.Render(w, c.log, status, tokensPage, v)
}

func (c *Console) changeTokens(p scope.Principal, r *http.Request) (made string, err error) {
	if text := r.PostFormValue("revoke"); text != "" {
		token, err := id.Parse[id.Token](text)
		if err != nil {
			return "", err
		}
		return "", c.directory.Revoke(r.Context(), p, token)
	}
	if err := directory.MayKeepTokens(p); err != nil {
		return "", err
	}
	scopes, err := scope.ParseSet(strings.Fields(r.PostFormValue("scopes")))
	if err != nil {
		return "", err
	}
	days := 0
	if text := r.PostFormValue("days"); text != "" {
		if days, err = strconv.Atoi(text); err != nil || days < 1 || days > 36500 {
			return "", problem.Field("days", "SizeError", "is %.20q; it is a number from 1 to 36500", text)
		}
	}
	made, _, err = c.directory.CreatePersonal(r.Context(), p, r.PostFormValue("name"), scopes, time.Duration(days)*24*time.Hour)
	return made, err
}
