package hark

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"hark/internal/apps"
	"hark/internal/signature"
)

// installSmartApp registers and installs a SmartApp, and returns the installed app's id. Its
// INSTALL call is left for the test to take.
func (i *instance) installSmartApp(name string, r *receiver, config object, more ...string) string {
	i.t.Helper()
	made := i.ok("POST", "/apps?requireConfirmation=true&signatureType=ST_PADLOCK", object{
		"appName": name, "displayName": name, "appType": "WEBHOOK_SMART_APP", "webhookSmartApp": object{"targetUrl": r.URL},
		"oauth": object{"clientName": name, "scope": append([]string{"r:devices:*", "x:devices:*"}, more...)},
	})
	answer := i.ok("POST", "/installedapps", object{"appId": get(made, "app", "appId"), "locationId": i.location, "config": config})
	for { // CONFIRMATION and INSTALL may come in either order
		if get(r.next(), "lifecycle") == "INSTALL" {
			break
		}
	}
	return get(answer, "installedApp", "installedAppId")
}

func TestLifecyclesOfASmartApp(t *testing.T) {
	t.Parallel()
	h := run(t, t.TempDir())
	r := receive(t, h.server.BaseURL())
	lamp, door := h.device("Floor lamp"), h.device("Front door")
	entry := func(d string) []object {
		return []object{{"valueType": "DEVICE", "deviceConfig": object{"deviceId": d}}}
	}
	next := func(lifecycle string) object {
		for {
			if c := r.next(); get(c, "lifecycle") == lifecycle {
				for _, member := range []string{"executionId", "appId", "locale", "version"} {
					if get(c, member) == "" {
						t.Errorf("%s lacks %s: %v", lifecycle, member, c)
					}
				}
				equal(t, "the settings in "+lifecycle, get(c, "settings", "color"), "red")
				return c
			}
		}
	}
	made := h.ok("POST", "/v1/apps?requireConfirmation=true&signatureType=ST_PADLOCK", object{
		"appName": "life", "displayName": "Life", "appType": "WEBHOOK_SMART_APP", "webhookSmartApp": object{"targetUrl": r.URL + "/smart/app"},
		"oauth": object{"clientName": "life", "scope": []string{"r:devices:$", "x:devices:$"}},
	})
	h.ok("PUT", "/apps/life/settings", object{"settings": object{"color": "red"}})
	var status int
	var inside []byte
	r.answers(func(c object) int { // within the call, its tokens work
		if get(c, "lifecycle") == "INSTALL" {
			caller := h.as(get(c, "installData", "authToken"))
			status, _, inside = caller.try("POST", "/installedapps/"+get(c, "installData", "installedApp", "installedAppId")+"/subscriptions",
				object{"sourceType": "DEVICE", "device": object{"deviceId": lamp}})
		}
		return http.StatusOK
	})
	answer := h.ok("POST", "/installedapps", object{"appId": get(made, "app", "appId"), "locationId": h.location, "config": object{"lamp": entry(lamp)}})
	if status != http.StatusOK {
		t.Fatalf("subscribing within INSTALL: %d %s", status, inside)
	}
	installed := get(answer, "installedApp", "installedAppId")
	c := next("INSTALL")
	equal(t, "the permissions", get(c, "installData", "installedApp", "permissions"), fmt.Sprintf(`["r:devices:%s","x:devices:%s"]`, lamp, lamp))
	equal(t, "the component", get(c, "installData", "installedApp", "config", "lamp", 0, "deviceConfig", "componentId"), "main")

	h.report(lamp, "switch", "switch", "on")
	c = next("EVENT")
	if get(c, "eventData", "authToken") == "" || get(c, "eventData", "installedApp", "config", "lamp", 0, "deviceConfig", "deviceId") != lamp {
		t.Errorf("the EVENT lacks its token or config: %v", c)
	}
	equal(t, "a nameless subscription's name", get(c, "eventData", "events", 0, "deviceEvent", "subscriptionName"), get(h.ok("GET", "/installedapps/"+installed+"/subscriptions", nil), "items", 0, "id"))

	h.ok("PUT", "/installedapps/"+installed+"/configs", object{"config": object{"lamp": entry(door)}})
	c = next("UPDATE")
	equal(t, "the previous permissions", get(c, "updateData", "previousPermissions"), fmt.Sprintf(`["r:devices:%s","x:devices:%s"]`, lamp, lamp))
	equal(t, "the previous device", get(c, "updateData", "previousConfig", "lamp", 0, "deviceConfig", "deviceId"), lamp)
	equal(t, "the new device", get(c, "updateData", "installedApp", "config", "lamp", 0, "deviceConfig", "deviceId"), door)

	r.answers(func(object) int { return http.StatusInternalServerError })
	refusal := h.refused(http.StatusUnprocessableEntity, "PUT", "/installedapps/"+installed+"/configs", object{"config": object{}})
	equal(t, "the detail of a refused UPDATE", get(refusal, "details", 0, "code"), "TargetNon200Error")
	now := h.ok("GET", "/installedapps/"+installed+"/configs/current", nil)
	equal(t, "the config after a refused UPDATE", get(now, "config", "lamp", 0, "deviceConfig", "deviceId"), door)
	r.answers(func(object) int { return http.StatusOK })

	equal(t, "the uninstall's count", get(h.ok("DELETE", "/installedapps/"+installed, nil), "count"), "1")
	c = next("UNINSTALL")
	equal(t, "the uninstalled app", get(c, "uninstallData", "installedApp", "installedAppId"), installed)
	h.refused(http.StatusForbidden, "GET", "/installedapps/"+installed, nil)
	h.ok("DELETE", "/apps/life", nil)
	h.refused(http.StatusForbidden, "GET", "/apps/life", nil)
}

func TestAFailedInstallLeavesNothing(t *testing.T) {
	t.Parallel()
	h := run(t, t.TempDir())
	r := receive(t, h.server.BaseURL())
	r.answers(func(c object) int {
		if get(c, "lifecycle") == "INSTALL" {
			return http.StatusInternalServerError
		}
		return http.StatusOK
	})
	made := h.ok("POST", "/apps?requireConfirmation=true", object{"appName": "broken", "displayName": "B", "appType": "WEBHOOK_SMART_APP", "webhookSmartApp": object{"targetUrl": r.URL, "signatureType": "ST_PADLOCK"}})
	request := object{"appId": get(made, "app", "appId"), "locationId": h.location}
	refusal := h.refused(http.StatusUnprocessableEntity, "POST", "/installedapps", request)
	contains(t, "the refusal", get(refusal, "message"), "did not accept INSTALL", "500")
	equal(t, "the detail's target", get(refusal, "details", 0, "target"), r.URL)
	equal(t, "the installed apps", get(h.ok("GET", "/installedapps", nil), "items"), "[]")
}

func TestPingProvesTheTargetOfOlderClients(t *testing.T) {
	t.Parallel()
	h := run(t, t.TempDir(), func(c *Config) { c.AutoConfirm = "none" })
	r := receive(t, h.server.BaseURL())
	r.public = func() string { // such apps verify by the key in the answer, once they have it
		return get(h.ok("GET", "/apps", nil), "items", 0, "webhookSmartApp", "publicKey")
	}
	app := object{"appName": "old", "displayName": "O", "appType": "WEBHOOK_SMART_APP", "webhookSmartApp": object{"targetUrl": r.URL}}
	down := object{"appName": "down", "displayName": "D", "appType": "WEBHOOK_SMART_APP", "webhookSmartApp": object{"targetUrl": "http://127.0.0.1:1/"}}
	refusal := h.refused(http.StatusUnprocessableEntity, "POST", "/apps", down)
	equal(t, "the code", get(refusal, "code"), "ConstraintViolationError")
	equal(t, "the number of details", fmt.Sprint(len(refusal["details"].([]any))), "1")
	contains(t, "the detail", get(refusal, "details", 0, "code"), "Target")
	equal(t, "the apps", get(h.ok("GET", "/apps", nil), "items"), "[]")

	public := r.public
	r.public = nil
	pinged := receive(t, h.server.BaseURL())
	pinged.public = func() string {
		k, _ := h.server.directory.KeyOf(t.Context(), &apps.App{SignatureType: apps.AppRSA}, signature.RSA)
		return k.PublicKey()
	}
	app["webhookSmartApp"] = object{"targetUrl": pinged.URL}
	made := h.ok("POST", "/apps", app)
	equal(t, "the target's status", get(made, "app", "webhookSmartApp", "targetStatus"), "CONFIRMED")
	equal(t, "the signature type", get(made, "app", "webhookSmartApp", "signatureType"), "APP_RSA")
	equal(t, "the lifecycle", get(pinged.next(), "lifecycle"), "PING")
	pinged.public = public
	answer := h.ok("POST", "/installedapps", object{"appId": get(made, "app", "appId"), "locationId": h.location})
	equal(t, "the lifecycle", get(pinged.next(), "lifecycle"), "INSTALL")
	equal(t, "the installed app's type", get(answer, "installedApp", "installedAppType"), "WEBHOOK_SMART_APP")
}

func TestUninstallTellsAnAPIAccessApp(t *testing.T) {
	t.Parallel()
	h := run(t, t.TempDir())
	a := h.install("leaving", "r:devices:*")
	h.as(a.access).ok("DELETE", "/installedapps/"+a.installed, nil) // an app may uninstall itself
	e := a.event()
	equal(t, "the event's type", get(e, "eventType"), "INSTALLED_APP_LIFECYCLE_EVENT")
	equal(t, "the lifecycle", get(e, "installedAppLifecycleEvent", "lifecycle"), "DELETE")
	equal(t, "the app", get(e, "installedAppLifecycleEvent", "appId"), a.appID)
	h.as(a.access).refused(http.StatusUnauthorized, "GET", "/devices", nil)
}

func TestAppsAPI(t *testing.T) {
	t.Parallel()
	h := run(t, t.TempDir())
	body := object{"appName": "api", "displayName": "A", "description": "d", "appType": "API_ONLY", "classifications": []string{"SERVICE"},
		"oauth": object{"clientName": "c", "scope": []string{"r:devices:*"}, "redirectUris": []string{"https://a.example/cb"}}}
	made := h.ok("POST", "/apps", body)
	if get(made, "oauthClientId") == "" || get(made, "oauthClientSecret") == "" {
		t.Errorf("no OAuth client: %v", made)
	}
	equal(t, "an app without a target", get(made, "app", "apiOnly"), "{}")
	contains(t, "a second app of the name", get(h.refused(http.StatusConflict, "POST", "/apps", body), "message"), "api", get(made, "app", "appId"))
	equal(t, "by name", get(h.ok("GET", "/apps/api", nil), "appId"), get(made, "app", "appId"))
	equal(t, "by id", get(h.ok("GET", "/apps/"+get(made, "app", "appId"), nil), "appName"), "api")
	equal(t, "by newer clients' path", get(h.ok("GET", "/v1/smartapps/api", nil), "appName"), "api")
	equal(t, "the list by type", get(h.ok("GET", "/apps?appType=API_ONLY&classification=SERVICE", nil), "items", 0, "appName"), "api")
	equal(t, "the list by another type", get(h.ok("GET", "/apps?appType=WEBHOOK_SMART_APP", nil), "items"), "[]")
	equal(t, "the update", get(h.ok("PUT", "/apps/api", object{"displayName": "B"}), "displayName"), "B")
	equal(t, "what the update left", get(h.ok("GET", "/apps/api", nil), "description"), "d")
	equal(t, "the settings", get(h.ok("PUT", "/apps/api/settings", object{"settings": object{"k": "v"}}), "settings", "k"), "v")
	equal(t, "the settings again", get(h.ok("GET", "/apps/api/settings", nil), "settings", "k"), "v")
	equal(t, "the OAuth details", get(h.ok("GET", "/apps/api/oauth", nil), "redirectUris", 0), "https://a.example/cb")
	equal(t, "the changed OAuth details", get(h.ok("PUT", "/apps/api/oauth", object{"clientName": "c2", "scope": []string{"x:devices:*"}}), "scope", 0), "x:devices:*")
	again := h.ok("POST", "/apps/api/oauth/generate", object{"clientName": "c3", "scope": []string{"r:devices:*"}})
	equal(t, "the client id after a new secret", get(again, "oauthClientId"), get(made, "oauthClientId"))
	if get(again, "oauthClientSecret") == get(made, "oauthClientSecret") {
		t.Error("the secret is the same as before")
	}
	h.refused(http.StatusUnprocessableEntity, "POST", "/apps", object{"appName": "BAD NAME", "appType": "API_ONLY"})
	h.refused(http.StatusUnprocessableEntity, "PUT", "/apps/api", object{"appType": "WEBHOOK_SMART_APP"})
	contains(t, "a Lambda app", get(h.refused(http.StatusNotImplemented, "POST", "/apps", object{"appName": "l", "appType": "LAMBDA_SMART_APP"}), "message"), "WEBHOOK_SMART_APP")
	excess := h.refused(http.StatusUnprocessableEntity, "POST", "/installedapps", object{"appId": get(made, "app", "appId"), "locationId": h.location, "permissions": []string{"w:devices:*"}})
	contains(t, "granting more than was registered", get(excess, "message"), "w:devices:*", "r:devices:*")
	if status, _, _ := h.try("DELETE", "/apps/api", nil); status != http.StatusOK {
		t.Errorf("delete: %d", status)
	}
}

func TestSubscriptionsAPI(t *testing.T) {
	t.Parallel()
	h := run(t, t.TempDir())
	a := h.install("subs", "r:devices:*", "r:locations:*")
	own := h.as(a.access)
	path := "/v1/installedapps/" + a.installed + "/subscriptions"
	lamp, door := h.device("Floor lamp"), h.device("Front door")
	device := func(d, name string) object {
		return object{"sourceType": "DEVICE", "device": object{"deviceId": d, "subscriptionName": name}}
	}
	first := own.ok("POST", path, device(lamp, "lamp_0"))
	equal(t, "the echo", get(first, "device", "value"), "*")
	contains(t, "a second of the name", get(own.refused(http.StatusConflict, "POST", path, device(door, "lamp_0")), "message"), "lamp_0", get(first, "id"))
	contains(t, "a second of the filters", get(own.refused(http.StatusConflict, "POST", path, device(lamp, "other")), "message"), "same filters", get(first, "id"))
	own.ok("POST", path, device(door, "door_0"))
	own.ok("POST", path, object{"sourceType": "CAPABILITY", "capability": object{"locationId": h.location, "capability": "switch", "subscriptionName": "switches"}})

	list := own.ok("GET", path+"?max=2", nil)
	equal(t, "the page's length", fmt.Sprint(len(list["items"].([]any))), "2")
	next := get(list, "_links", "next", "href")
	contains(t, "the next page's link", next, h.server.BaseURL()+path, "max=2", "page=1")
	list = own.ok("GET", strings.TrimPrefix(next, h.server.BaseURL()), nil)
	equal(t, "the last page's links", get(list, "_links", "next"), "")
	equal(t, "the last page", get(list, "items", 0, "capability", "capability"), "switch")

	equal(t, "by name", get(own.ok("GET", path+"/door_0", nil), "device", "deviceId"), door)
	equal(t, "by id", get(own.ok("GET", path+"/"+get(first, "id"), nil), "id"), get(first, "id"))
	equal(t, "deleted by name", get(own.ok("DELETE", path+"/door_0", nil), "count"), "1")
	equal(t, "deleted by device", get(own.ok("DELETE", path+"?deviceId="+lamp, nil), "count"), "1")
	equal(t, "deleted all", get(own.ok("DELETE", path, nil), "count"), "1")
	equal(t, "deleted none", get(own.ok("DELETE", path, nil), "count"), "0")
	own.refused(http.StatusForbidden, "GET", path+"/door_0", nil)

	other := h.install("other", "r:devices:"+lamp)
	contains(t, "another app's token", get(h.as(other.access).refused(http.StatusForbidden, "GET", path, nil), "message"), other.installed, a.installed)
	path = "/installedapps/" + other.installed + "/subscriptions"
	for _, c := range []struct {
		body    object
		missing string
	}{
		{device(door, "d"), "r:devices:" + door},
		{object{"sourceType": "CAPABILITY", "capability": object{"locationId": h.location, "capability": "switch"}}, "r:devices:*"},
		{object{"sourceType": "MODE", "mode": object{"locationId": h.location}}, "r:locations:" + h.location},
	} {
		refusal := h.as(other.access).refused(http.StatusForbidden, "POST", path, c.body)
		contains(t, "the missing scope", get(refusal, "message"), "Missing scope "+c.missing)
		equal(t, "the detail", get(refusal, "details", 0, "code"), "MissingScope")
		h.refused(http.StatusForbidden, "POST", path, c.body) // whoever asks, the app must hold it
	}
	h.as(other.access).ok("POST", path, device(lamp, "l"))
	own.refused(http.StatusForbidden, "POST", "/installedapps/"+a.installed+"/subscriptions", device("736e3903-001c-4d40-b408-ff40d162a06b", "x"))
	own.refused(http.StatusForbidden, "POST", "/installedapps/"+a.installed+"/subscriptions",
		object{"sourceType": "CAPABILITY", "capability": object{"locationId": "736e3903-001c-4d40-b408-ff40d162a06b", "capability": "switch"}})
	own.refused(http.StatusUnprocessableEntity, "POST", "/installedapps/"+a.installed+"/subscriptions",
		object{"sourceType": "CAPABILITY", "capability": object{"locationId": h.location, "capability": "warpDrive"}})
}

// TestUniquenessHoldsUnderParallelRequests sends the same create many times at once.
func TestUniquenessHoldsUnderParallelRequests(t *testing.T) {
	t.Parallel()
	h := run(t, t.TempDir())
	a := h.install("parallel", "r:devices:*")
	lamp := h.device("Floor lamp")
	statuses := make([]int, 20)
	var wait sync.WaitGroup
	for i := range statuses {
		wait.Go(func() {
			statuses[i], _, _ = h.as(a.access).try("POST", "/installedapps/"+a.installed+"/subscriptions", object{"sourceType": "DEVICE", "device": object{"deviceId": lamp}})
		})
	}
	wait.Wait()
	made := 0
	for _, s := range statuses {
		switch s {
		case http.StatusOK:
			made++
		case http.StatusConflict:
		default:
			t.Errorf("status %d", s)
		}
	}
	if made != 1 {
		t.Errorf("%d were made, want 1", made)
	}
}

// TestRefreshTokens redeems as the clients do: credentials by Basic, form or query.
func TestRefreshTokens(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := run(t, dir)
	made := h.ok("POST", "/apps", object{"appName": "oauth", "appType": "API_ONLY"})
	client, secret := get(made, "oauthClientId"), get(made, "oauthClientSecret")
	tokens := h.ok("POST", "/installedapps", object{"appId": get(made, "app", "appId"), "locationId": h.location, "permissions": []string{"r:locations:*"}})["tokens"].(object)
	redeem := func(path, form, user, password string) (int, object) {
		r, err := http.NewRequest("POST", h.server.BaseURL()+path, strings.NewReader(form))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if user != "" {
			r.SetBasicAuth(user, password)
		}
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		var answer object
		if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, answer
	}
	grant := func(refresh string) string { return "grant_type=refresh_token&refresh_token=" + refresh }
	secrets := "&client_id=" + client + "&client_secret=" + secret
	old := tokens
	for _, try := range []func(refresh string) (int, object){
		func(refresh string) (int, object) {
			return redeem("/oauth/token", grant(refresh)+"&client_id="+client, client, secret)
		},
		func(refresh string) (int, object) { return redeem("/v1/oauth/token", grant(refresh)+secrets, "", "") },
		func(refresh string) (int, object) { return redeem("/oauth/token?"+grant(refresh)+secrets, "", "", "") },
	} {
		status, answer := try(get(tokens, "refresh_token"))
		if status != http.StatusOK || get(answer, "installed_app_id") == "" || get(answer, "scope") != "r:locations:*" || get(answer, "token_type") != "bearer" {
			t.Fatalf("%d %v", status, answer)
		}
		h.as(get(tokens, "access_token")).refused(http.StatusUnauthorized, "GET", "/locations", nil) // the old one is dead
		tokens = answer
		h.as(get(tokens, "access_token")).ok("GET", "/locations", nil)
	}
	for what, c := range map[string]struct {
		status int
		form   string
		code   string
	}{
		"an access token":       {http.StatusBadRequest, grant(get(tokens, "access_token")) + secrets, "invalid_grant"},
		"another secret":        {http.StatusUnauthorized, grant(get(tokens, "refresh_token")) + "&client_id=" + client + "&client_secret=x", "invalid_client"},
		"no client":             {http.StatusUnauthorized, grant(get(tokens, "refresh_token")), "invalid_client"},
		"another kind of grant": {http.StatusBadRequest, "grant_type=password" + secrets, "unsupported_grant_type"},
	} {
		status, answer := redeem("/oauth/token", c.form, "", "")
		if status != c.status || get(answer, "error") != c.code || get(answer, "error_description") == "" {
			t.Errorf("%s: %d %v", what, status, answer)
		}
	}
	other := h.ok("POST", "/apps", object{"appName": "thief", "appType": "API_ONLY"})
	if status, answer := redeem("/oauth/token", grant(get(tokens, "refresh_token")), get(other, "oauthClientId"), get(other, "oauthClientSecret")); status != http.StatusBadRequest {
		t.Errorf("another app redeems it: %v", answer)
	}
	h.stop()
	h = run(t, dir)
	status, answer := redeem("/oauth/token", grant(get(tokens, "refresh_token"))+secrets, "", "")
	if status != http.StatusOK {
		t.Fatalf("after a restart: %d %v", status, answer)
	}
	// What it is good for, to its own client alone.
	introspect := func(token, with string) object {
		_, v := redeem("/oauth/introspect", "token="+token+with, "", "")
		return v
	}
	active := introspect(get(answer, "access_token"), secrets)
	equal(t, "introspection", get(active, "active")+get(active, "scope")+get(active, "client_id"), "true"+"r:locations:*"+client)
	thief := "&client_id=" + get(other, "oauthClientId") + "&client_secret=" + get(other, "oauthClientSecret")
	equal(t, "introspection by another", get(introspect(get(answer, "access_token"), thief), "active"), "false")
	equal(t, "introspection of a spent token", get(introspect(get(tokens, "refresh_token"), secrets), "active"), "false")
	if status, refusal := redeem("/oauth/revoke", "token="+get(answer, "access_token")+thief, "", ""); status != http.StatusBadRequest {
		t.Errorf("another client revokes it: %v", refusal)
	}

	// One that is used again is in wrong hands: all of its family are revoked.
	h.as(get(answer, "access_token")).ok("GET", "/locations", nil)
	status, refusal := redeem("/oauth/token", grant(get(old, "refresh_token"))+secrets, "", "")
	if status != http.StatusBadRequest || get(refusal, "error") != "invalid_grant" {
		t.Errorf("a used refresh token: %d %v", status, refusal)
	}
	contains(t, "the description", get(refusal, "error_description"), "used before", "all tokens of this authorisation are revoked")
	h.as(get(answer, "access_token")).refused(http.StatusUnauthorized, "GET", "/locations", nil)
	if status, refusal := redeem("/oauth/token", grant(get(answer, "refresh_token"))+secrets, "", ""); status != http.StatusBadRequest {
		t.Errorf("a token of a revoked family: %d %v", status, refusal)
	}

	// Revoking takes the family along; what is not known is no fault.
	again := h.ok("POST", "/installedapps", object{"appId": get(made, "app", "appId"), "locationId": h.location, "permissions": []string{"r:locations:*"}})["tokens"].(object)
	for range 2 {
		if status, refusal := redeem("/oauth/revoke", "token="+get(again, "refresh_token")+secrets, "", ""); status != http.StatusOK {
			t.Errorf("revoke: %d %v", status, refusal)
		}
	}
	h.as(get(again, "access_token")).refused(http.StatusUnauthorized, "GET", "/locations", nil)
}
