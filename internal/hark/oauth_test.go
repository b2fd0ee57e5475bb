package hark

import (
	"html"
	"io"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/oauth2"
)

// person is somebody at a browser, without the browser: it keeps cookies and follows no
// redirections.
type person struct {
	t      *testing.T
	h      *instance
	client *http.Client
}

// visitor is a person who is signed in with the instance's token.
func (i *instance) visitor() *person {
	i.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		i.t.Fatal(err)
	}
	p := &person{i.t, i, &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	if status, _, body := p.post("/console/sign-in", url.Values{"token": {i.token}}); status != http.StatusSeeOther {
		i.t.Fatalf("signing in: %d %s", status, body)
	}
	return p
}

func (p *person) do(r *http.Request) (status int, location *url.URL, body string) {
	p.t.Helper()
	response, err := p.client.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	location, err = response.Location()
	if err != nil {
		location = new(url.URL)
	}
	return response.StatusCode, location, html.UnescapeString(string(b))
}

func (p *person) get(address string) (int, *url.URL, string) {
	p.t.Helper()
	if strings.HasPrefix(address, "/") {
		address = p.h.server.BaseURL() + address
	}
	r, err := http.NewRequest("GET", address, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	return p.do(r)
}

func (p *person) post(path string, form url.Values) (int, *url.URL, string) {
	p.t.Helper()
	r, err := http.NewRequest("POST", p.h.server.BaseURL()+path, strings.NewReader(form.Encode()))
	if err != nil {
		p.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return p.do(r)
}

var hidden = regexp.MustCompile(`<input type="hidden" name="([^"]+)" value="([^"]*)">`)

// allow fills in the consent page at an address as its buttons and boxes say.
func (p *person) allow(address string, more url.Values) (int, *url.URL, string) {
	p.t.Helper()
	status, _, page := p.get(address)
	if status != http.StatusOK {
		p.t.Fatalf("the consent page: %d %s", status, page)
	}
	form := url.Values{"action": {"allow"}}
	for _, m := range hidden.FindAllStringSubmatch(page, -1) {
		form.Set(m[1], m[2])
	}
	maps.Copy(form, more)
	return p.post("/oauth/authorize", form)
}

// oauthApp registers an API-access app as an OAuth client.
func (i *instance) oauthApp(name string, oauth object) (config *oauth2.Config, appID string) {
	i.t.Helper()
	made := i.ok("POST", "/apps", object{"appName": name, "displayName": name, "appType": "API_ONLY", "oauth": oauth})
	config = &oauth2.Config{ClientID: get(made, "oauthClientId"), ClientSecret: get(made, "oauthClientSecret"), RedirectURL: oauth["redirectUris"].([]string)[0],
		Endpoint: oauth2.Endpoint{AuthURL: i.server.BaseURL() + "/oauth/authorize", TokenURL: i.server.BaseURL() + "/oauth/token"}}
	return config, get(made, "app", "appId")
}

const callback = "http://app.example/callback?keep=this"

// TestAnotherMakersClient completes code, PKCE and refresh with golang.org/x/oauth2, for a client
// with a secret and for one without.
func TestAnotherMakersClient(t *testing.T) {
	t.Parallel()
	h := run(t, t.TempDir())
	p := h.visitor()
	lamp, door := h.device("Floor lamp"), h.device("Front door")
	for _, public := range []bool{false, true} {
		config, _ := h.oauthApp(map[bool]string{false: "secretive", true: "public"}[public], object{"scope": []string{"r:devices:$", "x:devices:$", "r:locations:*"}, "redirectUris": []string{callback}, "public": public})
		if public {
			config.ClientSecret = ""
		}
		config.Scopes = []string{"r:devices:$", "r:locations:*"}
		verifier := oauth2.GenerateVerifier()
		authorize := config.AuthCodeURL("the state", oauth2.S256ChallengeOption(verifier))

		// A stranger signs in first, and comes back to this very page.
		stranger := &person{t, h, &http.Client{CheckRedirect: p.client.CheckRedirect}}
		_, where, _ := stranger.get(authorize)
		equal(t, "where a stranger goes", h.server.BaseURL()+where.Query().Get("next"), authorize)

		_, _, page := p.get(authorize)
		contains(t, "the consent page", page, "See the devices that you choose", "See your home", "Floor lamp", "http://app.example")
		if strings.Contains(page, "Control") {
			t.Error("the page speaks of a scope that was not asked for")
		}
		if status, _, page := p.allow(authorize, url.Values{"location": {h.location}}); status != http.StatusOK || !strings.Contains(page, "at least one device") {
			t.Errorf("without a device: %d", status)
		}
		status, back, body := p.allow(authorize, url.Values{"location": {h.location}, "device": {lamp, door}})
		if status != http.StatusSeeOther || !strings.HasPrefix(back.String(), "http://app.example/callback?") || back.Query().Get("keep") != "this" || back.Query().Get("state") != "the state" {
			t.Fatalf("after the consent: %d %s %s", status, back, body)
		}
		token, err := config.Exchange(t.Context(), back.Query().Get("code"), oauth2.VerifierOption(verifier))
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "the scope", token.Extra("scope").(string), "r:devices:"+lamp+" r:devices:"+door+" r:locations:*")
		if seconds, ok := token.Extra("expires_in").(float64); !ok || seconds > 86400 || seconds < 86390 {
			t.Errorf("expires_in is %v", token.Extra("expires_in"))
		}
		for _, account := range []string{"developer_account_id", "iot_account_id", "owner_account_id"} {
			if text, _ := token.Extra(account).(string); len(text) != 36 {
				t.Errorf("%s is %v", account, token.Extra(account))
			}
		}
		installed := token.Extra("installed_app_id").(string)
		equal(t, "the installed app", get(h.as(token.AccessToken).ok("GET", "/installedapps/"+installed, nil), "locationId"), h.location)
		devices := h.as(token.AccessToken).ok("GET", "/devices", nil)["items"].([]any)
		equal(t, "the devices that it sees", get(devices, 0, "label")+get(devices, 1, "label")+get(devices, 2, "label"), "Front doorFloor lamp")

		stale := *token
		stale.Expiry = stale.Expiry.AddDate(0, 0, -2)
		fresh, err := config.TokenSource(t.Context(), &stale).Token()
		if err != nil {
			t.Fatal(err)
		}
		if fresh.AccessToken == token.AccessToken || fresh.RefreshToken == token.RefreshToken {
			t.Error("the refresh gives the same tokens")
		}
		h.as(token.AccessToken).refused(http.StatusUnauthorized, "GET", "/locations", nil)
		h.as(fresh.AccessToken).ok("GET", "/locations", nil)

		// Again, for fewer devices: the same installed app, which may less from now on.
		_, back, _ = p.allow(authorize, url.Values{"location": {h.location}, "device": {lamp}})
		again, err := config.Exchange(t.Context(), back.Query().Get("code"), oauth2.VerifierOption(verifier))
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "the installed app again", again.Extra("installed_app_id").(string), installed)
		h.as(fresh.AccessToken).refused(http.StatusForbidden, "GET", "/devices/"+door, nil)

		// Not allowed: the app is told.
		_, back, _ = p.allow(authorize, url.Values{"action": {"deny"}})
		equal(t, "the refusal", back.Query().Get("error")+back.Query().Get("state"), "access_denied"+"the state")
	}
	// The official command line is a client that every server knows; it acts for the person.
	cli := &oauth2.Config{ClientID: "d18cf96e-c626-4433-bf51-ddbb10c5d1ed", RedirectURL: "http://localhost:61973/finish", Scopes: []string{"controller:stCli"},
		Endpoint: oauth2.Endpoint{AuthURL: h.server.BaseURL() + "/oauth/authorize", TokenURL: h.server.BaseURL() + "/oauth/token"}}
	verifier := oauth2.GenerateVerifier()
	_, back, _ := p.allow(cli.AuthCodeURL("", oauth2.S256ChallengeOption(verifier), oauth2.SetAuthURLParam("client_type", "USER_LEVEL")), nil)
	token, err := cli.Exchange(t.Context(), back.Query().Get("code"), oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatal(err)
	}
	h.as(token.AccessToken).ok("GET", "/apps", nil)
	token.Expiry = token.Expiry.AddDate(0, 0, -2)
	if token, err = cli.TokenSource(t.Context(), token).Token(); err != nil {
		t.Fatal(err)
	}
	h.as(token.AccessToken).ok("GET", "/apps", nil)
}

// TestOAuthAttacks tries what attackers try. Each is refused, and explained.
func TestOAuthAttacks(t *testing.T) {
	t.Parallel()
	h := run(t, t.TempDir())
	p := h.visitor()
	config, appID := h.oauthApp("honest", object{"scope": []string{"r:devices:*"}, "redirectUris": []string{callback, "com.honest.app:/done"}})
	other, _ := h.oauthApp("evil", object{"scope": []string{"r:devices:*"}, "redirectUris": []string{"http://evil.example/"}})
	public, _ := h.oauthApp("open", object{"scope": []string{"r:devices:*"}, "redirectUris": []string{callback}, "public": true})

	// Redirect URIs that are not letter by letter the app's: nobody is sent there.
	for _, uri := range []string{"", "http://evil.example/", "http://app.example/callback", "http://app.example/callback?keep=this&more=1", "http://APP.example/callback?keep=this",
		"http://app.example/callback/../evil?keep=this", "http://app.example@evil.example/callback?keep=this", "https://app.example/callback?keep=this", "http://app.example/callback?keep=this#x", "javascript:alert(1)"} {
		tricked := *config
		tricked.RedirectURL = uri
		status, where, page := p.get(tricked.AuthCodeURL("s"))
		if status != http.StatusBadRequest || where.String() != "" || !strings.Contains(page, "registered redirect URIs") {
			t.Errorf("%q: %d to %s", uri, status, where)
		}
	}
	if status, _, page := p.get("/oauth/authorize?response_type=code&client_id=nobody&redirect_uri=http://evil.example/"); status != http.StatusBadRequest || !strings.Contains(page, "does not know") {
		t.Errorf("an unknown client: %d", status)
	}

	for _, uri := range []string{"javascript:alert(1)", "DATA:text/html,x", "/relative", "http://app.example/#fragment"} {
		h.refused(http.StatusUnprocessableEntity, "PUT", "/apps/honest/oauth", object{"scope": []string{"r:devices:*"}, "redirectUris": []string{uri}})
	}

	// What the app is told by its redirect URI.
	told := func(what, address, code string, words ...string) {
		t.Helper()
		status, where, page := p.get(address)
		if status != http.StatusSeeOther || !strings.HasPrefix(where.String(), "http://app.example/callback") {
			t.Errorf("%s: %d %s %s", what, status, where, page)
			return
		}
		equal(t, what, where.Query().Get("error"), code)
		contains(t, what, where.Query().Get("error_description"), words...)
	}
	greedy := *config
	greedy.Scopes = []string{"r:devices:*", "x:devices:*"}
	told("more scopes than registered", greedy.AuthCodeURL("s"), "invalid_scope", "x:devices:*", appID)
	told("a token right away", strings.Replace(config.AuthCodeURL("s"), "response_type=code", "response_type=token", 1), "unsupported_response_type", "code")
	told("a public client without PKCE", public.AuthCodeURL("s"), "invalid_request", "PKCE")
	told("PKCE without hashing", public.AuthCodeURL("s", oauth2.SetAuthURLParam("code_challenge", strings.Repeat("x", 43)), oauth2.SetAuthURLParam("code_challenge_method", "plain")), "invalid_request", "S256")

	code := func(c *oauth2.Config, more ...oauth2.AuthCodeOption) string {
		t.Helper()
		status, back, page := p.allow(c.AuthCodeURL("s", more...), url.Values{"location": {h.location}})
		if status != http.StatusSeeOther || back.Query().Get("code") == "" {
			t.Fatalf("no code: %d %s %s", status, back, page)
		}
		return back.Query().Get("code")
	}
	refused := func(what string, err error, words ...string) {
		t.Helper()
		if err == nil {
			t.Errorf("%s: tokens are given", what)
			return
		}
		contains(t, what, err.Error(), words...)
	}
	exchange := func(c *oauth2.Config, code string, more ...oauth2.AuthCodeOption) (*oauth2.Token, error) {
		return c.Exchange(t.Context(), code, more...)
	}

	// A code used twice takes back what it was redeemed for.
	once := code(config)
	token, err := exchange(config, once)
	if err != nil {
		t.Fatal(err)
	}
	h.as(token.AccessToken).ok("GET", "/devices", nil)
	_, err = exchange(config, once)
	refused("a code used twice", err, "invalid_grant", "used before")
	h.as(token.AccessToken).refused(http.StatusUnauthorized, "GET", "/devices", nil)

	// Another client's code, and another secret.
	stolen := code(config)
	_, err = exchange(other, stolen)
	refused("another client's code", err, "invalid_grant", "another client")
	wrong := *config
	wrong.ClientSecret = "x"
	_, err = exchange(&wrong, stolen)
	refused("a wrong secret", err, "invalid_client")
	_, err = exchange(config, stolen) // it is still the app's own
	if err != nil {
		t.Errorf("another's try spent the code: %v", err)
	}
	elsewhere := *config
	elsewhere.RedirectURL = "com.honest.app:/done"
	_, err = exchange(&elsewhere, code(config))
	refused("another redirect URI than the code was sent to", err, "invalid_grant", "must be the same")

	// PKCE cannot be dropped on the way, nor guessed.
	verifier := oauth2.GenerateVerifier()
	_, err = exchange(config, code(config, oauth2.S256ChallengeOption(verifier)))
	refused("a dropped verifier", err, "invalid_grant", "code_verifier")
	_, err = exchange(config, code(config, oauth2.S256ChallengeOption(verifier)), oauth2.VerifierOption(oauth2.GenerateVerifier()))
	refused("another verifier", err, "invalid_grant", "code_verifier")
	_, err = exchange(config, code(config), oauth2.VerifierOption(verifier))
	refused("a verifier out of nowhere", err, "invalid_grant", "no code_challenge")
	public.ClientSecret = "anything"
	_, err = exchange(public, code(public, oauth2.S256ChallengeOption(verifier)), oauth2.VerifierOption(verifier))
	refused("a public client with a secret", err, "invalid_client")

	// Consent from another site, and with another person's eyes.
	form := url.Values{"action": {"allow"}, "client_id": {config.ClientID}, "redirect_uri": {callback}, "response_type": {"code"}, "location": {h.location}}
	r, _ := http.NewRequest("POST", h.server.BaseURL()+"/oauth/authorize", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", "https://evil.example")
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	if status, where, page := p.do(r); status != http.StatusForbidden || where.String() != "" || !strings.Contains(page, "sent by another site (https://evil.example)") {
		t.Errorf("consent from another site: %d %s", status, where)
	}
	limited := h.ok("POST", "/hark/v1/tokens", object{"name": "guest", "scopes": []string{"r:locations:*", "w:installedapps:*", "r:installedapps:*"}})
	guest := h.as(get(limited, "token")).visitor()
	if status, where, page := guest.allow(config.AuthCodeURL("s"), url.Values{"location": {h.location}}); status != http.StatusForbidden || where.String() != "" || !strings.Contains(page, "cannot grant") {
		t.Errorf("a guest grants what they do not hold: %d %s %s", status, where, page)
	}
	if status, _, page := p.post("/oauth/authorize", url.Values{"action": {"allow"}, "client_id": {config.ClientID}, "redirect_uri": {callback}, "response_type": {"code"}, "location": {appID}}); status != http.StatusForbidden || !strings.Contains(page, "no location") {
		t.Errorf("a location that is not there: %d", status)
	}
	if _, where, _ := p.post("/console/sign-in?next=//evil.example/", url.Values{"token": {h.token}}); where.Host != strings.TrimPrefix(h.server.BaseURL(), "http://") || where.Path != "/" {
		t.Errorf("signing in leads to %s", where)
	}

	// The tokens of an app that is deleted are worthless, and its codes too.
	late := code(config)
	token, err = exchange(config, code(config))
	if err != nil {
		t.Fatal(err)
	}
	h.ok("DELETE", "/apps/"+appID, nil)
	h.as(token.AccessToken).refused(http.StatusUnauthorized, "GET", "/devices", nil)
	_, err = exchange(config, late)
	refused("a code of a deleted app", err, "invalid_client")

	// Each of these is in the log, with what stood against it.
	contains(t, "the log", h.log.String(), "registered redirect URIs", "does not know", "error=invalid_scope", "error=unsupported_response_type", "has to use PKCE", "code was used twice", "another client",
		"error=invalid_client", "must be the same", "code_verifier is not the one", "form from another site", "origin=https://evil.example", "cannot grant", "no location with the id")
}
