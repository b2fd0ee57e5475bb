package installer

import (
	"errors"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"hark/internal/apps"
	"hark/internal/directory"
	"hark/internal/home"
	"hark/internal/id"
	"hark/internal/lifecycle"
	"hark/internal/pages"
	"hark/internal/problem"
	"hark/internal/scope"
)

// authorization is what an app asks for at /oauth/authorize (reference 6.1).
type authorization struct {
	app         *apps.App
	redirectURI string
	state       string
	scopes      scope.Set
	challenge   string
}

// oauthRefusal is a refusal that the app is told, by way of its redirect URI.
type oauthRefusal struct{ code, words string }

func (r oauthRefusal) Error() string { return r.words }

func refusal(code, words string) error { return oauthRefusal{code, words} }

// challengePattern is what an S256 challenge looks like.
var challengePattern = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)

// authorization reads the request. As long as the redirect URI is not proved to be the app's,
// nobody is sent there: the person is told instead.
func (v *visit) authorization() (*authorization, error) {
	q := v.FormValue
	app, ok := v.directory.FindClient(q("client_id"))
	if !ok {
		return nil, problem.New(problem.Invalid, "The app that sent you here calls itself client %.60q, which hark does not know. The client id is in the answer to the app's creation.", q("client_id"))
	}
	a := &authorization{app: app, redirectURI: q("redirect_uri"), state: q("state"), challenge: q("code_challenge")}
	if !slices.Contains(app.OAuth.RedirectURIs, a.redirectURI) {
		return nil, problem.New(problem.Invalid, "The app %s wants to send you on to %.300q, which is none of its registered redirect URIs (%s). They are compared letter by letter. "+
			"If you are its developer, PUT /apps/%s/oauth registers another.", app.DisplayName, a.redirectURI, strings.Join(app.OAuth.RedirectURIs, ", "), app.ID)
	}
	if q("response_type") != "code" {
		return a, refusal("unsupported_response_type", "response_type has to be code.")
	}
	switch method := q("code_challenge_method"); {
	case a.challenge == "" && app.OAuth.Public:
		return a, refusal("invalid_request", "This client has no secret, so it has to use PKCE: code_challenge is missing.")
	case a.challenge == "" && method != "":
		return a, refusal("invalid_request", "There is a code_challenge_method, but no code_challenge.")
	case a.challenge != "" && method != "S256":
		return a, refusal("invalid_request", "code_challenge_method has to be S256.")
	case a.challenge != "" && !challengePattern.MatchString(a.challenge):
		return a, refusal("invalid_request", "code_challenge is not a SHA-256 in base64url.")
	}
	var err error
	if a.scopes, err = scope.ParseSet(strings.Fields(strings.ReplaceAll(q("scope"), "+", " "))); err != nil {
		return a, refusal("invalid_scope", err.Error())
	}
	if len(a.scopes) == 0 {
		a.scopes = app.OAuth.Scope
	}
	for _, s := range a.scopes {
		if !slices.Contains(app.OAuth.Scope, s) && !app.OAuth.Scope.Offers(s) {
			return a, refusal("invalid_scope", string(s)+" is not among the scopes that the app registered: "+strings.Join(app.OAuth.Scope.Strings(), " ")+". PUT /apps/"+app.ID.String()+"/oauth adds it.")
		}
	}
	return a, nil
}

// toApp sends the person to the app's redirect URI with some parameters.
func (v *visit) toApp(a *authorization, params url.Values) {
	if a.state != "" {
		params.Set("state", a.state)
	}
	u, err := url.Parse(a.redirectURI)
	if err != nil { // it was parsed when it was registered
		v.refuse(err)
		return
	}
	query := u.Query()
	maps.Copy(query, params)
	u.RawQuery = query.Encode()
	http.Redirect(v.ResponseWriter, v.Request, u.String(), http.StatusSeeOther)
}

// refuseApp tells the app, or the person where the app cannot be told.
func (v *visit) refuseApp(a *authorization, err error) error {
	if r, ok := errors.AsType[oauthRefusal](err); ok && a != nil {
		v.log.Warn("authorization refused", "app", a.app.Name, "error", r.code, "because", r.words)
		v.toApp(a, url.Values{"error": {r.code}, "error_description": {r.words}})
		return nil
	}
	return err
}

// sendBack gives the app a code for the installed app.
func (v *visit) sendBack(a *authorization, installed id.InstalledApp) {
	g := directory.Grant{App: a.app.ID, InstalledApp: installed, RedirectURI: a.redirectURI, Challenge: a.challenge}
	if installed.IsZero() { // a client that acts for the person
		g.Account, g.Name, g.Scopes = v.visitor.Account, a.app.DisplayName, v.visitor.Scopes
	}
	v.log.Info("app authorised", "app", a.app.Name, "installedApp", installed, "visitor", v.visitor.Name)
	v.toApp(a, url.Values{"code": {v.directory.NewCode(g)}})
}

type authorizeView struct {
	pages.Frame
	App       *apps.App
	Person    bool // it acts for the person, not in one home
	Host      string
	May       []string
	Locations []locationChoice
	Choose    bool // single devices are to be chosen
	Wrong     string
	Fields    map[string]string
}

type locationChoice struct {
	*home.Location
	Chosen  bool
	Devices []deviceChoice
}

type deviceChoice struct {
	*home.Device
	Chosen bool
}

// selects reports whether some scopes are for the devices that the person chooses.
func (a *authorization) selects() bool {
	return slices.ContainsFunc(a.scopes, func(s scope.Scope) bool { return strings.HasSuffix(string(s), ":$") })
}

// ask shows what the app wants.
func (i *Installer) ask(v *visit) error {
	a, err := v.authorization()
	if err != nil {
		return v.refuseApp(a, err)
	}
	return v.consent(a, "")
}

func (v *visit) consent(a *authorization, wrong string) error {
	view := authorizeView{Frame: v.frame("Connect " + a.app.DisplayName), App: a.app, Person: a.app.PrincipalType == apps.UserLevel, May: v.words(a.scopes), Choose: a.selects(), Wrong: wrong, Fields: map[string]string{}}
	if u, err := url.Parse(a.redirectURI); err == nil {
		view.Host = u.Scheme + "://" + u.Host
	}
	for _, name := range []string{"client_id", "redirect_uri", "response_type", "scope", "state", "code_challenge", "code_challenge_method"} {
		if value := v.FormValue(name); value != "" {
			view.Fields[name] = value
		}
	}
	for n, l := range v.shard.Locations(v.visitor) {
		choice := locationChoice{Location: l, Chosen: v.FormValue("location") == l.ID.String() || v.FormValue("location") == "" && n == 0}
		if view.Choose {
			for _, d := range v.shard.Devices(v.visitor, func(d *home.Device) bool { return d.Location == l.ID }) {
				choice.Devices = append(choice.Devices, deviceChoice{d, slices.Contains(v.Form["device"], d.ID.String())})
			}
		}
		view.Locations = append(view.Locations, choice)
	}
	return v.render(authorizePage, view, a.redirectURI)
}

// answer takes the person's decision.
func (i *Installer) answer(v *visit) error {
	a, err := v.authorization()
	if err != nil {
		return v.refuseApp(a, err)
	}
	if v.PostFormValue("action") != "allow" {
		return v.refuseApp(a, refusal("access_denied", "The user did not agree."))
	}
	if a.app.PrincipalType == apps.UserLevel {
		v.sendBack(a, id.InstalledApp{})
		return nil
	}
	at, err := id.Parse[id.Location](v.PostFormValue("location"))
	if err != nil {
		return v.consent(a, "Choose a home.")
	}
	if _, err := v.shard.Location(v.visitor, at); err != nil {
		return err
	}
	granted, wrong := v.granted(a, at)
	if wrong != "" {
		return v.consent(a, wrong)
	}
	existing, err := v.installedAt(a.app.ID, at)
	if err != nil {
		return err
	}
	switch {
	case existing != nil:
		_, err = v.lifecycle.Reconfigure(v.Context(), v.visitor, existing.ID, nil, granted)
	case a.app.SmartApp(): // its own pages come first
		return v.start(&flow{by: lifecycle.Configuring{App: a.app, Installed: id.New[id.InstalledApp]()}, oauth: a}, at)
	default:
		existing, _, err = v.lifecycle.Install(v.Context(), v.visitor, lifecycle.InstallRequest{App: a.app.ID, Location: at, Permissions: granted, WithoutTokens: true})
	}
	if err != nil {
		return err
	}
	v.sendBack(a, existing.ID)
	return nil
}

// granted returns the scopes with "$" replaced by the chosen devices, which must be there.
func (v *visit) granted(a *authorization, at id.Location) (granted scope.Set, wrong string) {
	var devices []id.Device
	for _, text := range v.PostForm["device"] {
		d, err := id.Parse[id.Device](text)
		if err != nil {
			return nil, "A device that was chosen is none."
		}
		h, err := v.shard.Device(v.visitor, d, "r")
		if err != nil {
			return nil, err.Error()
		}
		if h.Location == at { // those of the homes that were not chosen do not count
			devices = append(devices, d)
		}
	}
	if a.selects() && len(devices) == 0 {
		return nil, "Choose at least one device of this home."
	}
	granted = scope.Set{}
	for _, s := range a.scopes {
		if !strings.HasSuffix(string(s), ":$") {
			granted = append(granted, s)
			continue
		}
		for _, d := range devices {
			if one, ok := s.Selected(d); ok {
				granted = append(granted, one)
			}
		}
	}
	return granted, ""
}

// installedAt returns the app's install in the location, nil for none: who authorises again
// gets the same (reference 6.4).
func (v *visit) installedAt(app id.App, at id.Location) (*apps.Installed, error) {
	list, err := v.shard.InstalledApps(v.visitor, func(in *apps.Installed) bool {
		return in.App == app && in.Location == at && in.Status == apps.Authorized
	})
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return list[0], nil
}
