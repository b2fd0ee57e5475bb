package hark

import (
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
)

var loginID = regexp.MustCompile(`name="id" value="([^"]+)"`)

// TestSigningInByOpenIDConnect signs in at a provider of another maker: one that is certified.
func TestSigningInByOpenIDConnect(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	issuer := "http://localhost:" + strings.TrimPrefix(l.Addr().String(), "127.0.0.1:") + "/"
	own, err := net.Listen("tcp", "127.0.0.1:0") // the provider wants to know where hark is before that starts
	if err != nil {
		t.Fatal(err)
	}
	address := own.Addr().String()
	own.Close()
	storage.RegisterClients(storage.WebClient("hark", "the secret", "http://"+address+"/console/oidc/callback"))
	idp := httptest.NewUnstartedServer(exampleop.SetupServer(issuer, storage.NewStorage(storage.NewUserStore(issuer)), slog.New(slog.DiscardHandler), false))
	idp.Listener.Close()
	idp.Listener = l
	idp.Start()
	t.Cleanup(idp.Close)

	dir := t.TempDir()
	h := run(t, dir, func(c *Config) {
		c.Listen, c.OIDC = address, OIDC{Issuer: issuer, ClientID: "hark", ClientSecret: "the secret", Name: "Our Company"}
	})
	// visit goes to the provider and, if that is wanted, says there who one is.
	visit := func(p *person, name string) (callback *url.URL) {
		t.Helper()
		_, where, _ := p.get("/console/oidc?next=/console/tokens")
		if where.Query().Get("code_challenge") == "" || where.Query().Get("nonce") == "" || !strings.HasPrefix(where.String(), issuer) {
			t.Fatalf("a person is sent to %s", where)
		}
		_, where, _ = p.get(where.String())
		_, _, page := p.get(where.String())
		m := loginID.FindStringSubmatch(page)
		if m == nil {
			t.Fatalf("the provider shows %s", page)
		}
		form := url.Values{"id": {m[1]}, "username": {name}, "password": {"verysecure"}}
		r, err := http.NewRequest("POST", issuer+"login/username", strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		_, where, _ = p.do(r)
		_, callback, page = p.get(where.String())
		if callback.Query().Get("code") == "" {
			t.Fatalf("the provider leads to %s: %s", callback, page)
		}
		return callback
	}
	browser := func() *person {
		jar, err := cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		return &person{t, h, &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	}
	p := browser()
	_, _, page := p.get("/")
	contains(t, "the sign-in page", page, "Sign in with Our Company")
	callback := visit(p, "test-user@localhost")

	// Another browser cannot end what this one began.
	if status, _, page := browser().get(callback.String()); status != http.StatusUnauthorized || !strings.Contains(page, "not begun in this browser") {
		t.Errorf("in another browser: %d", status)
	}
	callback = visit(p, "test-user@localhost") // and the try spent the trip
	status, where, page := p.get(callback.String())
	if status != http.StatusSeeOther || where.Path != "/console/tokens" {
		t.Fatalf("back at hark: %d %s %s", status, where, page)
	}
	if status, _, _ := p.get(callback.String()); status != http.StatusUnauthorized {
		t.Errorf("the same way back a second time: %d", status)
	}
	mine := h.as(p.token(""))
	mine.ok("POST", "/locations", object{"name": "Mine"})
	equal(t, "what the person sees", get(mine.ok("GET", "/locations", nil), "items", 0, "name")+get(mine.ok("GET", "/locations", nil), "items", 1), "Mine")

	again := browser()
	again.get(visit(again, "test-user@localhost").String())
	equal(t, "the same person again", get(h.as(again.token("")).ok("GET", "/locations", nil), "items", 0, "name"), "Mine")
	other := browser()
	other.get(visit(other, "test-user2").String())
	equal(t, "another person", get(h.as(other.token("")).ok("GET", "/locations", nil), "items"), "[]")
	if n := len(h.ok("GET", "/hark/v1/accounts", nil)["items"].([]any)); n != 2 {
		t.Errorf("%d accounts for two people", n)
	}
	idp.CloseClientConnections()
	idp.Close()
	h.stop()
	h = run(t, dir, func(c *Config) { c.OIDC = OIDC{Issuer: issuer, ClientID: "hark"} }) // it starts without the provider
	p = browser()
	if status, _, page := p.get("/console/oidc"); status != http.StatusUnauthorized || !strings.Contains(page, "cannot be asked") {
		t.Errorf("without the provider: %d %s", status, page)
	}
}
