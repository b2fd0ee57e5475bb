package hark

import (
	"bytes"
	"io/fs"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// signIn is a person who signs in with a name and a password; the status says whether they may.
func (i *instance) signIn(name, password string) (p *person, status int, page string) {
	i.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		i.t.Fatal(err)
	}
	p = &person{i.t, i, &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	status, _, page = p.post("/console/sign-in", url.Values{"name": {name}, "password": {password}})
	return p, status, page
}

var madeToken = regexp.MustCompile(`<code id="made">([^<]+)</code>`)

// token makes a personal access token on the page for it.
func (p *person) token(scopes string) string {
	p.t.Helper()
	_, _, page := p.post("/console/tokens", url.Values{"action": {"make"}, "name": {"for a test"}, "scopes": {scopes}})
	m := madeToken.FindStringSubmatch(page)
	if m == nil {
		p.t.Fatalf("no token is made: %s", page)
	}
	return m[1]
}

// TestPeopleSeeTheirOwnHomes has two people on one server, which is neither's.
func TestPeopleSeeTheirOwnHomes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := run(t, dir)
	const password = "correct horse battery"
	for _, name := range []string{"Ada", "bob@example.org"} {
		h.ok("POST", "/hark/v1/accounts", object{"name": name, "password": password})
	}
	h.refused(http.StatusConflict, "POST", "/hark/v1/accounts", object{"name": "ADA", "password": password})
	h.refused(http.StatusUnprocessableEntity, "POST", "/hark/v1/accounts", object{"name": "short", "password": "123456789"})
	h.refused(http.StatusUnprocessableEntity, "POST", "/hark/v1/accounts", object{"name": "a b", "password": password})

	ada, status, _ := h.signIn("ada", password)
	equal(t, "signing in", http.StatusText(status), "See Other")
	bob, _, _ := h.signIn("bob@example.org", password)
	a, b := h.as(ada.token("")), h.as(bob.token(""))
	equal(t, "what Ada sees at first", get(a.ok("GET", "/locations", nil), "items"), "[]")
	a.location = get(a.ok("POST", "/locations", object{"name": "Ada's"}), "locationId")
	b.location = get(b.ok("POST", "/locations", object{"name": "Bob's"}), "locationId")
	equal(t, "what Ada sees", get(a.ok("GET", "/locations", nil), "items", 0, "name"), "Ada's")
	equal(t, "what Bob sees", get(b.ok("GET", "/locations", nil), "items", 0, "name"), "Bob's")
	if n := len(h.ok("GET", "/locations", nil)["items"].([]any)); n != 3 {
		t.Errorf("the server's owner sees %d homes, want 3", n)
	}
	lamp := get(a.ok("POST", "/virtualdevices/prototypes", object{"name": "Ada's lamp", "owner": object{"ownerType": "LOCATION", "ownerId": a.location}, "prototype": "VIRTUAL_SWITCH"}), "deviceId")
	made := a.install("ada-app", "r:devices:*")
	made.subscribe("DEVICE", object{"deviceId": lamp})

	// Of all this Bob sees nothing, and can do nothing to it.
	scene := get(a.ok("POST", "/scenes", object{"locationId": a.location, "sceneName": "Hers"}), "sceneId")
	stream := a.stream()
	for _, path := range []string{"GET /locations/" + a.location, "DELETE /locations/" + a.location, "GET /devices/" + lamp, "GET /devices/" + lamp + "/status", "DELETE /devices/" + lamp, "GET /scenes/" + scene,
		"GET /installedapps/" + made.installed, "DELETE /installedapps/" + made.installed, "GET /installedapps/" + made.installed + "/subscriptions", "GET /hark/v1/installedapps/" + made.installed + "/delivery",
		"DELETE /apps/ada-app", "PUT /apps/ada-app/register", "GET " + strings.TrimPrefix(get(stream, "registrationUrl"), h.server.BaseURL()), "GET /hark/v1/accounts", "GET /locations/" + h.location} {
		method, path, _ := strings.Cut(path, " ")
		b.refused(http.StatusForbidden, method, path, nil)
	}
	b.refused(http.StatusForbidden, "POST", "/virtualdevices/"+lamp+"/events", object{"deviceEvents": []object{{"capability": "switch", "attribute": "switch", "value": "on"}}})
	b.refused(http.StatusForbidden, "POST", "/installedapps", object{"appId": made.appID, "locationId": a.location, "permissions": []string{"r:devices:*"}})
	for _, path := range []string{"/devices", "/installedapps", "/apps", "/scenes", "/subscriptions"} {
		equal(t, "Bob's "+path, get(b.ok("GET", path, nil), "items"), "[]")
	}
	equal(t, "Bob's deletion of Ada's stream", get(b.ok("DELETE", "/subscriptions/"+get(stream, "subscriptionId"), nil), "count"), "0")
	bobs := b.listen(get(b.stream(object{"type": "LOCATIONIDS", "value": []string{"ALL"}}), "registrationUrl"), "")
	a.report(lamp, "switch", "switch", "on")
	made.only("on")
	bobsLamp := get(b.ok("POST", "/virtualdevices/prototypes", object{"name": "Bob's", "owner": object{"ownerType": "USER"}, "prototype": "VIRTUAL_SWITCH"}), "deviceId")
	bobs.next("DEVICE_LIFECYCLE_EVENT")
	b.report(bobsLamp, "switch", "switch", "on")
	equal(t, "the first report that Bob's stream shows", get(bobs.next("DEVICE_EVENT").json(), "deviceEvent", "deviceId"), bobsLamp)

	// An app that Bob lets change apps can change his, and not hers.
	meddler := b.install("meddler", "w:apps:*", "r:apps:*")
	contains(t, "an app of Bob's", get(b.as(meddler.access).refused(http.StatusForbidden, "DELETE", "/apps/ada-app", nil), "message"), "another account")
	b.as(meddler.access).ok("PUT", "/apps/meddler", object{"description": "of his own"})

	// Her token can do no more than she, and one with fewer scopes no more than these.
	a.refused(http.StatusForbidden, "POST", "/hark/v1/tokens", object{"name": "more", "scopes": []string{"w:hark"}})
	reader := a.as(ada.token("r:devices:*"))
	reader.ok("GET", "/devices", nil)
	contains(t, "what a small token is told", get(reader.refused(http.StatusForbidden, "GET", "/locations/"+a.location, nil), "message"), "Missing scope r:locations", "holds: r:devices:*", "personal access token")
	if n := len(b.ok("GET", "/hark/v1/tokens", nil)["items"].([]any)); n != 1 {
		t.Errorf("Bob sees %d tokens, want his own", n)
	}

	// A restart changes nothing, a new password ends sessions, and a deletion everything.
	h.stop()
	h2 := run(t, dir)
	a, b = h2.as(a.token), h2.as(b.token)
	equal(t, "after a restart", get(a.ok("GET", "/locations", nil), "items", 0, "name"), "Ada's")
	ada.h = h2
	ada, _, _ = h2.signIn("Ada", password)
	if status, _, page := ada.get("/"); status != http.StatusOK || !strings.Contains(page, "Ada's lamp") || strings.Contains(page, "Bob") {
		t.Errorf("Ada's console: %d", status)
	}
	h2.ok("PUT", "/hark/v1/accounts/ada/password", object{"password": "another long one"})
	if status, _, _ := ada.get("/"); status != http.StatusUnauthorized {
		t.Errorf("with an old session the console answers %d", status)
	}
	a.ok("GET", "/locations", nil) // a token is no session
	if _, status, _ = h2.signIn("Ada", password); status != http.StatusUnauthorized {
		t.Errorf("the old password: %d", status)
	}
	h2.ok("DELETE", "/hark/v1/accounts/Ada", nil)
	a.refused(http.StatusUnauthorized, "GET", "/locations", nil)
	b.ok("GET", "/locations", nil)
	if n := len(h2.ok("GET", "/locations", nil)["items"].([]any)); n != 3 {
		t.Errorf("the homes of who is gone: %d are left, want 3", n)
	}
}

// TestSigningInIsGuarded tries passwords, looks for secrets on disk, and signs out.
func TestSigningInIsGuarded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := run(t, dir)
	const password = "a password that nobody has"
	h.ok("POST", "/hark/v1/accounts", object{"name": "eve", "password": password})
	p, _, _ := h.signIn("eve", password)
	token := p.token("")
	h.as(token).ok("GET", "/devices", nil)
	base, _ := url.Parse(h.server.BaseURL())
	session := p.client.Jar.Cookies(base)[0].Value
	h.as(session).ok("GET", "/devices", nil)
	if status, _, _ := p.post("/console/sign-out", nil); status != http.StatusSeeOther {
		t.Errorf("signing out: %d", status)
	}
	h.as(session).refused(http.StatusUnauthorized, "GET", "/devices", nil) // the session is over, not only forgotten
	h.as(token).ok("GET", "/devices", nil)

	for _, name := range []string{"eve", "nobody"} { // who is there and who is not: no difference
		for n := 0; ; n++ {
			_, status, page := h.signIn(name, "wrong")
			if status == http.StatusTooManyRequests {
				contains(t, "too many tries", page, "come back in")
				break
			}
			if n > 12 || status != http.StatusUnauthorized {
				t.Fatalf("try %d of %s: %d", n, name, status)
			}
			contains(t, "a wrong password", page, "The name or the password is wrong")
		}
	}
	if _, status, _ := h.signIn("eve", password); status != http.StatusTooManyRequests {
		t.Errorf("the right password after too many tries: %d", status)
	}
	h.stop()
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "dev-token" {
			return err
		}
		b, err := os.ReadFile(path)
		for what, secret := range map[string]string{"password": password, "token": token, "session": session} {
			if bytes.Contains(b, []byte(secret)) {
				t.Errorf("%s holds the %s itself", path, what)
			}
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}
