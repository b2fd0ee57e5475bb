package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// tap is a proxy in front of the app that keeps what hark sent.
type tap struct {
	*httptest.Server
	mu   sync.Mutex
	seen []*http.Request
	body [][]byte
}

func newTap(t *testing.T, app string) *tap {
	p := new(tap)
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		p.mu.Lock()
		p.seen, p.body = append(p.seen, r), append(p.body, b)
		p.mu.Unlock()
		status, answer := send(r.Context(), t, app, r.Header, b)
		w.WriteHeader(status)
		w.Write(answer)
	}))
	t.Cleanup(func() {
		p.CloseClientConnections() // the SDK never answers CONFIRMATION
		p.Close()
	})
	return p
}

func (p *tap) last() (http.Header, []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen[len(p.seen)-1].Header, p.body[len(p.body)-1]
}

// send posts to the app with the headers as they are.
func send(ctx context.Context, t *testing.T, app string, header http.Header, body []byte) (int, []byte) {
	r, err := http.NewRequestWithContext(ctx, "POST", app, bytes.NewReader(body))
	if err != nil {
		t.Error(err)
		return 0, nil
	}
	r.Header = header.Clone()
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return http.StatusBadGateway, nil
	}
	defer response.Body.Close()
	b, _ := io.ReadAll(response.Body)
	return response.StatusCode, b
}

func at(t *testing.T, v any, path ...any) any {
	t.Helper()
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[p]
		case int:
			l, _ := v.([]any)
			if p >= len(l) {
				t.Fatalf("%v has no %v", v, path)
			}
			v = l[p]
		}
	}
	return v
}

func want(t *testing.T, what string, got, want any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s is %v, want %v", what, got, want)
	}
}

// TestSmartAppOnTheOfficialSDK is the main job: an unmodified SmartApp is registered and
// installed, subscribes from within its install handler, gets events, is reconfigured and
// uninstalled. It verifies every signature through the key server.
func TestSmartAppOnTheOfficialSDK(t *testing.T) {
	t.Parallel()
	requireNode(t)
	h := start(t, "--listen", "127.0.0.1:0")
	app := h.run("node/smartapp.js")
	appURL := fmt.Sprintf("http://127.0.0.1:%v/", app.next("listening")["port"])
	proxy := newTap(t, appURL)

	var created struct {
		App struct {
			AppID           string
			WebhookSmartApp struct{ TargetStatus, PublicKey, SignatureType string }
		}
		OAuthClientID string `json:"oauthClientId"`
	}
	h.sdk(&created, "apps", "create", map[string]any{
		"appName": "door-watch", "displayName": "Door watch", "description": "Watches doors", "appType": "WEBHOOK_SMART_APP",
		"classifications": []string{"AUTOMATION"}, "singleInstance": false,
		"webhookSmartApp": map[string]any{"targetUrl": proxy.URL + "/"},
		"oauth":           map[string]any{"clientName": "Door watch", "scope": []string{"r:devices:*", "x:devices:*", "r:locations:*"}},
	})
	want(t, "the target's status", created.App.WebhookSmartApp.TargetStatus, "CONFIRMED") // on loopback
	want(t, "the signature type", created.App.WebhookSmartApp.SignatureType, "ST_PADLOCK")
	if created.App.WebhookSmartApp.PublicKey == "" || created.OAuthClientID == "" {
		t.Error("the created app has no public key or OAuth client")
	}

	door, window, lamp := h.device("Front door"), h.device("Window sensor"), h.device("Floor lamp")
	device := func(id string) map[string]any {
		return map[string]any{"valueType": "DEVICE", "deviceConfig": map[string]any{"deviceId": id, "componentId": "main"}}
	}
	var installed struct {
		InstalledApp struct{ InstalledAppID, InstalledAppStatus string }
	}
	h.call("POST", "/installedapps", map[string]any{
		"appId": created.App.AppID, "locationId": h.LocationID, "config": map[string]any{"contacts": []any{device(door)}},
	}, &installed)
	said := app.next("installed")
	want(t, "the installed app's status", installed.InstalledApp.InstalledAppStatus, "AUTHORIZED")
	want(t, "the handler's installed app", said["installedAppId"], installed.InstalledApp.InstalledAppID)
	want(t, "the first subscription's name", at(t, said, "subscriptions", 0, "device", "subscriptionName"), "contactHandler_0")
	want(t, "the second subscription's capability", at(t, said, "subscriptions", 1, "capability", "capability"), "switch")

	// A device changes: through the SDK's own call for virtual devices.
	var changes struct{ StateChanges []bool }
	h.sdk(&changes, "virtualDevices", "createEvents", door, []any{map[string]any{"component": "main", "capability": "contactSensor", "attribute": "contact", "value": "open"}})
	want(t, "the state changes", changes.StateChanges, "[true]")
	said = app.next("contactHandler")
	want(t, "the event's device", at(t, said, "event", "deviceId"), door)
	want(t, "the event's value", at(t, said, "event", "value"), "open")
	want(t, "the event's state change", at(t, said, "event", "stateChange"), true)
	want(t, "the status seen from within the handler", at(t, said, "status", "contact", "value"), "open")

	// A command through the SDK reaches the handler of the CAPABILITY subscription.
	h.sdk(nil, "devices", "executeCommand", lamp, map[string]any{"component": "main", "capability": "switch", "command": "on"})
	said = app.next("switchHandler")
	want(t, "the switch event's value", at(t, said, "event", "value"), "on")
	want(t, "the switch event's name", at(t, said, "event", "subscriptionName"), "switchHandler")
	header, body := proxy.last()

	// Reconfigured: other devices, and the handler sees what was before.
	h.call("PUT", "/installedapps/"+installed.InstalledApp.InstalledAppID+"/configs", map[string]any{"config": map[string]any{"contacts": []any{device(door), device(window)}}}, nil)
	said = app.next("updated")
	want(t, "the previous device", at(t, said, "previousConfig", "contacts", 0, "deviceConfig", "deviceId"), door)
	want(t, "the new device", at(t, said, "config", "contacts", 1, "deviceConfig", "deviceId"), window)
	want(t, "the number of subscriptions", len(at(t, said, "subscriptions").([]any)), 3)
	h.sdk(nil, "virtualDevices", "createEvents", window, []any{map[string]any{"component": "main", "capability": "contactSensor", "attribute": "contact", "value": "open"}})
	want(t, "the event's device after the update", at(t, app.next("contactHandler"), "event", "deviceId"), window)

	tampered(t, appURL, header, body)

	var deleted struct{ Status string }
	h.sdk(&deleted, "installedApps", "delete", installed.InstalledApp.InstalledAppID)
	want(t, "what the SDK makes of the answer", deleted.Status, "success")
	said, before := app.until("uninstalled")
	want(t, "the uninstalled app", said["installedAppId"], installed.InstalledApp.InstalledAppID)
	// Of tampered's requests, the control and the one that the SDK lets pass.
	want(t, "the number of handled requests of tampered", before["switchHandler"], 2)
}

// tampered sends the app requests that were changed on their way.
func tampered(t *testing.T, app string, header http.Header, body []byte) {
	t.Helper()
	post := func(header http.Header, body []byte) int {
		status, _ := send(t.Context(), t, app, header, body)
		return status
	}
	if status := post(header, body); status != http.StatusOK {
		t.Fatalf("the untouched request is answered %d, so the others prove nothing", status)
	}
	other := bytes.Replace(body, []byte(`"value":"on"`), []byte(`"value":"of"`), 1)
	if bytes.Equal(other, body) {
		t.Fatalf("the body has no value to change: %s", body)
	}
	sum := sha256.Sum256(other)
	changed := header.Clone()
	changed.Set("Digest", "SHA256="+base64.StdEncoding.EncodeToString(sum[:]))
	want(t, "the answer to a changed body with its digest", post(changed, other), http.StatusUnauthorized)
	later := header.Clone()
	later.Set("Date", "Sun, 23 Jun 2019 22:04:52 GMT")
	want(t, "the answer to an old date", post(later, body), http.StatusUnauthorized)
	// The SDK never compares the digest with the body, so this one passes it; the digest
	// that hark signed tells the receivers that do compare.
	want(t, "the SDK's answer to a changed body under the old digest", post(header, other), http.StatusOK)
	sum = sha256.Sum256(body)
	want(t, "the digest", header.Get("Digest"), "SHA256="+base64.StdEncoding.EncodeToString(sum[:]))
	if !json.Valid(body) {
		t.Errorf("the body is not JSON: %s", body)
	}
}

// TestEverySourceTypeOnTheOfficialSDK has an unmodified SmartApp subscribe by the SDK's helpers to
// everything that there is, and set timers; then each thing happens.
func TestEverySourceTypeOnTheOfficialSDK(t *testing.T) {
	t.Parallel()
	requireNode(t)
	h := start(t, "--listen", "127.0.0.1:0")
	app := h.run("node/sources.js")
	var created struct{ App struct{ AppID string } }
	h.sdk(&created, "apps", "create", map[string]any{
		"appName": "everything", "displayName": "Everything", "description": "Listens to everything", "appType": "WEBHOOK_SMART_APP",
		"classifications": []string{"AUTOMATION"}, "webhookSmartApp": map[string]any{"targetUrl": fmt.Sprintf("http://127.0.0.1:%v/", app.next("listening")["port"])},
		"oauth": map[string]any{"clientName": "Everything", "scope": []string{"r:devices:*", "r:locations:*", "r:hubs:*", "r:scenes:*", "r:security:locations:*:armstate"}},
	})
	lamp, door, hub := h.device("Floor lamp"), h.device("Front door"), h.device("Hub")
	var installed struct {
		InstalledApp struct{ InstalledAppID string }
	}
	h.call("POST", "/installedapps", map[string]any{"appId": created.App.AppID, "locationId": h.LocationID, "config": map[string]any{"lamps": []any{
		map[string]any{"valueType": "DEVICE", "deviceConfig": map[string]any{"deviceId": lamp, "componentId": "main"}},
	}}}, &installed)

	said := app.next("installed")
	sources := []string{"DEVICE", "CAPABILITY", "MODE", "DEVICE_LIFECYCLE", "DEVICE_HEALTH", "SECURITY_ARM_STATE", "HUB_HEALTH", "SCENE_LIFECYCLE"}
	for i, source := range sources {
		want(t, "the source type of a subscription", at(t, said, "made", i, "sourceType"), source)
		want(t, "the subscription in the list", at(t, said, "listed", i, "id"), at(t, said, "made", i, "id"))
	}
	want(t, "the expression of the daily schedule", at(t, said, "daily", "cron", "expression"), "35 16 * * ? *")
	want(t, "the time zone of the daily schedule", at(t, said, "daily", "cron", "timezone"), "UTC") // the location's, which the SDK asks for
	want(t, "the number of schedules", len(at(t, said, "schedules").([]any)), 2)

	said = app.next("timerHandler")
	want(t, "the timer", at(t, said, "event", "name"), "timerHandler")
	want(t, "the timer's type", at(t, said, "event", "type"), "ONCE")

	h.sdk(nil, "virtualDevices", "createEvents", lamp, []any{map[string]any{"component": "main", "capability": "switch", "attribute": "switch", "value": "on"}})
	want(t, "the lamp", at(t, app.next("lampHandler"), "event", "subscriptionName"), "lampHandler_0")
	h.sdk(nil, "virtualDevices", "createEvents", door, []any{map[string]any{"component": "main", "capability": "contactSensor", "attribute": "contact", "value": "open"}})
	want(t, "the door", at(t, app.next("contactHandler"), "event", "value"), "open")

	var modes []struct{ ID, Label string }
	h.sdk(&modes, "modes", "list", h.LocationID)
	h.sdk(nil, "modes", "setCurrent", modes[1].ID, h.LocationID)
	want(t, "the mode", at(t, app.next("modeHandler"), "event", "modeId"), modes[1].ID)

	h.sdk(nil, "devices", "update", lamp, map[string]any{"label": "Reading lamp"})
	said = app.next("lifecycleHandler")
	want(t, "the renamed device", at(t, said, "event", "deviceName"), "Reading lamp")
	want(t, "the lifecycle", at(t, said, "event", "lifecycle"), "UPDATE")

	h.call("PUT", "/hark/v1/devices/"+lamp+"/health", map[string]string{"state": "OFFLINE"}, nil)
	want(t, "the health", at(t, app.next("healthHandler"), "event", "status"), "OFFLINE")
	h.call("PUT", "/hark/v1/locations/"+h.LocationID+"/armstate", map[string]string{"armState": "ARMED_STAY"}, nil)
	want(t, "the arm state", at(t, app.next("armHandler"), "event", "armState"), "ARMED_STAY")
	h.call("PUT", "/hark/v1/devices/"+hub+"/health", map[string]string{"state": "ZIGBEE_OFFLINE"}, nil)
	want(t, "the hub", at(t, app.next("hubHandler"), "event", "hubId"), hub)

	var scene struct{ SceneID string }
	h.call("POST", "/scenes", map[string]any{"locationId": h.LocationID, "sceneName": "Reading", "actions": []any{
		map[string]any{"command": map[string]any{"devices": []string{lamp}, "commands": []any{map[string]any{"capability": "switch", "command": "off"}}}},
	}}, &scene)
	want(t, "the scene", at(t, app.next("sceneHandler"), "event", "lifecycle"), "CREATE")
	var executed struct{ Status string }
	h.sdk(&executed, "scenes", "execute", scene.SceneID)
	want(t, "what the SDK makes of the execution", executed.Status, "success")
	want(t, "the lamp that the scene brings back", at(t, app.next("healthHandler"), "event", "status"), "ONLINE")
	h.sdk(nil, "installedApps", "delete", installed.InstalledApp.InstalledAppID)
	app.next("uninstalled") // and the lamp's "off" is none of the subscription to "on"
}
