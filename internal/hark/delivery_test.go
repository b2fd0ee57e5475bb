package hark

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestEventsReachTheAppInItsEnvelope(t *testing.T) {
	t.Parallel()
	h := run(t, t.TempDir())
	a := h.install("watch", "r:devices:*", "r:locations:*")
	door := h.device("Front door")
	a.subscribe("DEVICE", object{"deviceId": door, "subscriptionName": "door"})
	equal(t, "the first state change", h.report(door, "contactSensor", "contact", "open"), "true")
	for {
		c := a.next()
		if get(c, "messageType") == "CONFIRMATION" {
			contains(t, "the confirmation URL", get(c, "confirmationData", "confirmationUrl"), "/v1/apps/"+a.appID+"/confirm-registration?token=")
			continue
		}
		equal(t, "the message type", get(c, "messageType"), "EVENT")
		equal(t, "the installed app", get(c, "eventData", "installedApp"), fmt.Sprintf(`{"installedAppId":%q,"locationId":%q}`, a.installed, h.location))
		equal(t, "the token", get(c, "eventData", "authToken"), "")
		equal(t, "the name", get(c, "eventData", "events", 0, "deviceEvent", "subscriptionName"), "door")
		equal(t, "the value", get(c, "eventData", "events", 0, "deviceEvent", "value"), "open")
		break
	}
	modes := h.ok("GET", "/locations/"+h.location+"/modes", nil)
	a.subscribe("MODE", object{})
	h.ok("PUT", "/locations/"+h.location+"/modes/current", object{"modeId": get(modes, "items", 1, "id")})
	equal(t, "the mode event", get(a.event(), "modeEvent", "modeId"), get(modes, "items", 1, "id"))
}

func TestWhatMatches(t *testing.T) {
	t.Parallel()
	h := run(t, t.TempDir())
	a := h.install("matcher", "r:devices:*", "r:locations:*")
	lamp, light := h.device("Floor lamp"), h.device("Ceiling light")
	on, off := func(d string) { h.report(d, "switch", "switch", "on") }, func(d string) { h.report(d, "switch", "switch", "off") }
	level := func(v int) { h.report(light, "switchLevel", "level", v) }

	t.Run("value", func(*testing.T) {
		s := a.subscribe("DEVICE", object{"deviceId": lamp, "capability": "switch", "value": "on"})
		on(lamp)
		off(lamp)
		on(lamp)
		equal(t, "the values", fmt.Sprint(a.values(2)), "[on on]")
		h.ok("DELETE", "/installedapps/"+a.installed+"/subscriptions/"+s, nil)
	})
	t.Run("typed value", func(*testing.T) {
		number := a.subscribe("CAPABILITY", object{"capability": "switchLevel", "value": 30, "subscriptionName": "number"})
		text := a.subscribe("CAPABILITY", object{"capability": "switchLevel", "value": "40", "subscriptionName": "text"})
		level(20)
		level(30)
		level(40)
		equal(t, "the values", fmt.Sprint(a.values(2)), "[30 40]")
		h.ok("DELETE", "/installedapps/"+a.installed+"/subscriptions/"+number, nil)
		h.ok("DELETE", "/installedapps/"+a.installed+"/subscriptions/"+text, nil)
	})
	t.Run("state change only", func(*testing.T) {
		s := a.subscribe("DEVICE", object{"deviceId": light, "capability": "switchLevel"})
		equal(t, "a repeated value's state change", h.report(light, "switchLevel", "level", 40), "false")
		level(41)
		a.only("41")
		h.ok("DELETE", "/installedapps/"+a.installed+"/subscriptions/"+s, nil)
		s = a.subscribe("DEVICE", object{"deviceId": light, "capability": "switchLevel", "stateChangeOnly": false})
		level(41)
		a.only("41")
		h.ok("DELETE", "/installedapps/"+a.installed+"/subscriptions/"+s, nil)
	})
	t.Run("modes", func(*testing.T) {
		modes := h.ok("GET", "/locations/"+h.location+"/modes", nil)
		home, away := get(modes, "items", 0, "id"), get(modes, "items", 1, "id")
		s := a.subscribe("DEVICE", object{"deviceId": light, "capability": "switchLevel", "modes": []string{away}})
		level(50)
		h.ok("PUT", "/locations/"+h.location+"/modes/current", object{"modeId": away})
		level(51)
		h.ok("PUT", "/locations/"+h.location+"/modes/current", object{"modeId": home})
		level(52)
		h.ok("PUT", "/locations/"+h.location+"/modes/current", object{"modeId": away})
		level(53)
		equal(t, "the values", fmt.Sprint(a.values(2)), "[51 53]")
		equal(t, "the deletion by mode", get(h.ok("DELETE", "/installedapps/"+a.installed+"/subscriptions?modeId="+away, nil), "count"), "1")
		h.refused(http.StatusForbidden, "GET", "/installedapps/"+a.installed+"/subscriptions/"+s, nil)
	})
	t.Run("overlapping", func(*testing.T) {
		a.subscribe("DEVICE", object{"deviceId": lamp, "subscriptionName": "device"})
		a.subscribe("CAPABILITY", object{"capability": "switch", "subscriptionName": "capability"})
		off(lamp)
		names := []string{get(a.event(), "deviceEvent", "subscriptionName"), get(a.event(), "deviceEvent", "subscriptionName")}
		equal(t, "the names", fmt.Sprint(sorted(names)), "[capability device]")
	})
	t.Run("a device that comes later", func(*testing.T) {
		d := get(h.ok("POST", "/virtualdevices/prototypes", object{"name": "New lamp", "prototype": "VIRTUAL_SWITCH", "owner": object{"ownerType": "LOCATION", "ownerId": h.location}}), "deviceId")
		on(d)
		equal(t, "the event's device", get(a.event(), "deviceEvent", "deviceId"), d)
	})
	t.Run("a button pushed twice", func(*testing.T) {
		b := h.device("Scene button")
		a.subscribe("DEVICE", object{"deviceId": b})
		equal(t, "the first push", h.report(b, "button", "button", "pushed"), "true")
		equal(t, "the second push", h.report(b, "button", "button", "pushed"), "true")
		equal(t, "the values", fmt.Sprint(a.values(2)), "[pushed pushed]")
	})
}

func TestNothingIsDeliveredToAPendingTarget(t *testing.T) {
	t.Parallel()
	h := run(t, t.TempDir(), func(c *Config) { c.AutoConfirm = "none" })
	r := receive(t, h.server.BaseURL())
	made := h.ok("POST", "/apps", object{"appName": "pending", "displayName": "P", "appType": "API_ONLY", "apiOnly": object{"targetUrl": r.URL}})
	equal(t, "the target's status", get(made, "app", "apiOnly", "subscription", "targetStatus"), "PENDING")
	confirmation := get(r.next(), "confirmationData", "confirmationUrl")

	app := "/apps/" + get(made, "app", "appId")
	answer := h.ok("POST", "/installedapps", object{"appId": get(made, "app", "appId"), "locationId": h.location, "permissions": []string{"r:devices:*"}})
	installed := get(answer, "installedApp", "installedAppId")
	status, header, content := h.try("POST", "/installedapps/"+installed+"/subscriptions", object{"sourceType": "DEVICE", "device": object{"deviceId": h.device("Floor lamp")}})
	if status != http.StatusOK {
		t.Fatalf("subscribe: %d %s", status, content)
	}
	contains(t, "the warning", header.Get("Warning"), "PENDING", "/apps/"+get(made, "app", "appId")+"/register")
	h.report(h.device("Floor lamp"), "switch", "switch", "on")
	delivery := "/hark/v1/installedapps/" + installed + "/delivery"
	eventually(t, "the delivery status says why", func() bool { return get(h.ok("GET", delivery, nil), "lastFailure") != "" })
	contains(t, "the delivery status", get(h.ok("GET", delivery, nil), "heldBecause"), "PENDING")

	h.ok("PUT", app+"/register", nil) // a new token, and the old one is dead
	again := get(r.next(), "confirmationData", "confirmationUrl")
	path := func(url string) string { return url[len(h.server.BaseURL()):] }
	contains(t, "the refusal of the old token", get(h.refused(http.StatusForbidden, "GET", path(confirmation), nil), "message"), "not the confirmation token")
	equal(t, "the confirmation's answer", get(h.as("").ok("GET", path(again), nil), "targetUrl"), r.URL)
	r.only("on") // it waited
	contains(t, "registering once more", get(h.refused(http.StatusUnprocessableEntity, "PUT", app+"/register", nil), "message"), "CONFIRMED already")

	moved := receive(t, h.server.BaseURL())
	equal(t, "a new target's status", get(h.ok("PUT", app, object{"apiOnly": object{"targetUrl": moved.URL}}), "apiOnly", "subscription", "targetStatus"), "PENDING")
	h.ok("POST", "/hark/v1"+app+"/confirm", nil)
	h.report(h.device("Floor lamp"), "switch", "switch", "off")
	moved.only("off")
}

// TestOneAppNeverDelaysAnother lets one app hang and another refuse while a third gets more
// events than a queue holds.
func TestOneAppNeverDelaysAnother(t *testing.T) {
	t.Parallel()
	h := run(t, t.TempDir())
	light := h.device("Ceiling light")
	hanging, broken, healthy := h.install("hanging", "r:devices:*"), h.install("broken", "r:devices:*"), h.install("healthy", "r:devices:*")
	release := make(chan struct{})
	var mended atomic.Bool
	hanging.answers(func(object) int { <-release; return http.StatusOK })
	broken.answers(func(c object) int {
		if get(c, "messageType") == "EVENT" && !mended.Load() {
			return http.StatusInternalServerError
		}
		return http.StatusOK
	})
	for _, a := range []*app{hanging, broken, healthy} {
		a.subscribe("DEVICE", object{"deviceId": light, "capability": "switchLevel", "stateChangeOnly": false})
	}
	const n = 400 // more than delivery queues in memory for one app
	var lines strings.Builder
	var want []string
	for v := range n {
		fmt.Fprintf(&lines, `{"deviceId":%q,"capability":"switchLevel","attribute":"level","value":%d}`+"\n", light, v%101)
		want = append(want, fmt.Sprint(v%101))
	}
	equal(t, "the accepted lines", get(h.ok("POST", "/hark/v1/events", lines.String()), "accepted"), fmt.Sprint(n))
	if got := healthy.values(n); !slices.Equal(got, want) {
		t.Errorf("the healthy app got %v", got)
	}
	eventually(t, "the broken app waits", func() bool { return get(broken.delivery(), "state") == "waiting" })
	contains(t, "why it waits", get(broken.delivery(), "lastFailure"), "500")
	mended.Store(true)
	close(release)
	for name, a := range map[string]*app{"mended": broken, "hanging": hanging} {
		if got := a.values(n); !slices.Equal(got, want) {
			t.Errorf("the %s app got %d events, not all or not in order: %v", name, len(got), got)
		}
		eventually(t, name+" is current", func() bool { return get(a.delivery(), "state") == "current" })
	}
}

// TestACleanRestartLosesAndRepeatsNothing stops hark while events wait, and starts it again.
func TestACleanRestartLosesAndRepeatsNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := run(t, dir)
	a := h.install("restarted", "r:devices:*")
	var down atomic.Bool
	var status atomic.Int32
	status.Store(http.StatusOK)
	a.answers(func(object) int {
		if down.Load() {
			return http.StatusServiceUnavailable
		}
		return int(status.Load())
	})
	light := h.device("Ceiling light")
	a.subscribe("DEVICE", object{"deviceId": light, "capability": "switchLevel"})
	h.report(light, "switchLevel", "level", 1)
	a.only("1")
	down.Store(true)
	for v := 2; v <= 5; v++ {
		h.report(light, "switchLevel", "level", v)
	}
	eventually(t, "the app is behind", func() bool { return get(a.delivery(), "behindSince") != "" })
	h.stop()
	down.Store(false)
	for len(a.calls) > 0 {
		<-a.calls // what came before the app went down and after
	}

	h = run(t, dir)
	equal(t, "the values after the restart", fmt.Sprint(a.values(4)), "[2 3 4 5]")
	equal(t, "the state", get(h.ok("GET", "/devices/"+light+"/components/main/capabilities/switchLevel/status", nil), "level", "value"), "5")
	equal(t, "the state change of the same value", h.report(light, "switchLevel", "level", 5), "false")
	h.report(light, "switchLevel", "level", 6)
	a.only("6")
	h.stop()
	h = run(t, dir)
	h.report(light, "switchLevel", "level", 7)
	a.only("7") // and nothing again
}

// TestADeletedSubscriptionSeesWhatWasBefore holds invariant 3 for an app that is behind.
func TestADeletedSubscriptionSeesWhatWasBefore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := run(t, dir)
	a := h.install("behind", "r:devices:*")
	var down atomic.Bool
	down.Store(true)
	a.answers(func(c object) int {
		if down.Load() && get(c, "messageType") == "EVENT" {
			return http.StatusServiceUnavailable
		}
		return http.StatusOK
	})
	light := h.device("Ceiling light")
	s := a.subscribe("DEVICE", object{"deviceId": light, "capability": "switchLevel", "subscriptionName": "first"})
	h.report(light, "switchLevel", "level", 1)
	h.ok("DELETE", "/installedapps/"+a.installed+"/subscriptions/"+s, nil)
	h.report(light, "switchLevel", "level", 2) // nobody wants it
	a.subscribe("DEVICE", object{"deviceId": light, "capability": "switchLevel", "subscriptionName": "first"})
	h.report(light, "switchLevel", "level", 3)
	h.stop() // and all of this holds over a restart
	run(t, dir)
	for len(a.calls) > 0 {
		<-a.calls
	}
	down.Store(false)
	equal(t, "the values", fmt.Sprint(a.values(2)), "[1 3]")
}

func TestARevokedScopeStopsTheNextEvent(t *testing.T) {
	t.Parallel()
	h := run(t, t.TempDir())
	lamp, door := h.device("Floor lamp"), h.device("Front door")
	a := h.install("revoked", "r:devices:*", "r:locations:*")
	a.subscribe("CAPABILITY", object{"capability": "switch"})
	a.subscribe("DEVICE", object{"deviceId": door})
	h.report(lamp, "switch", "switch", "on")
	a.only("on")
	h.ok("PUT", "/installedapps/"+a.installed+"/configs", object{"permissions": []string{"r:devices:" + door}})
	h.report(lamp, "switch", "switch", "off")
	h.report(door, "contactSensor", "contact", "open")
	a.only("open")
	if n := h.server.shard.Delivery().Counters().Withheld; n != 1 {
		t.Errorf("%d events withheld, want 1", n)
	}
	contains(t, "the refusal of the app's token", get(h.as(a.access).refused(http.StatusForbidden, "GET", "/devices/"+lamp, nil), "message"), "r:devices:"+lamp)
}

func TestUnhandledEventsAreNotRetried(t *testing.T) {
	t.Parallel()
	h := run(t, t.TempDir())
	r := receive(t, h.server.BaseURL())
	r.answers(func(c object) int {
		if get(c, "lifecycle") == "EVENT" {
			return http.StatusUnprocessableEntity
		}
		return http.StatusOK
	})
	installed := h.installSmartApp("no-handler", r, object{})
	h.ok("POST", "/installedapps/"+installed+"/subscriptions", object{"sourceType": "CAPABILITY", "capability": object{"locationId": h.location, "capability": "switch"}})
	lamp := h.device("Floor lamp")
	h.report(lamp, "switch", "switch", "on")
	h.report(lamp, "switch", "switch", "off")
	equal(t, "the values", fmt.Sprint(r.values(2)), "[on off]")
	eventually(t, "both are counted", func() bool { return h.server.shard.Delivery().Counters().Unhandled == 2 })
}

// TestTheTokenOfAnEventWorks checks the token that a SmartApp gets with each event, also one
// that was sent before a restart.
func TestTheTokenOfAnEventWorks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := run(t, dir)
	r := receive(t, h.server.BaseURL())
	lamp := h.device("Floor lamp")
	installed := h.installSmartApp("tokens", r, object{})
	h.ok("POST", "/installedapps/"+installed+"/subscriptions", object{"sourceType": "DEVICE", "device": object{"deviceId": lamp}})
	h.report(lamp, "switch", "switch", "on")
	var token string
	for token == "" {
		token = get(r.next(), "eventData", "authToken")
	}
	equal(t, "me", get(h.as(token).ok("GET", "/installedapps/me", nil), "installedAppId"), installed)
	h.stop()
	h = run(t, dir)
	equal(t, "me after a restart", get(h.as(token).ok("GET", "/installedapps/me", nil), "installedAppId"), installed)
	h.ok("DELETE", "/installedapps/"+installed, nil)
	h.as(token).refused(http.StatusUnauthorized, "GET", "/installedapps/me", nil)
}

// TestRetriesAreSignedAnew looks at two attempts at the same event.
func TestRetriesCarryTheSameEvent(t *testing.T) {
	t.Parallel()
	h := run(t, t.TempDir())
	a := h.install("retried", "r:devices:*")
	var tries atomic.Int32
	var first atomic.Value
	a.answers(func(c object) int {
		if get(c, "messageType") == "EVENT" && tries.Add(1) == 1 {
			first.Store(get(c, "eventData", "events", 0, "deviceEvent", "eventId"))
			return 0 // hangs up
		}
		return http.StatusOK
	})
	lamp := h.device("Floor lamp")
	a.subscribe("DEVICE", object{"deviceId": lamp})
	started := time.Now()
	h.report(lamp, "switch", "switch", "on")
	equal(t, "the event's id", get(a.event(), "deviceEvent", "eventId"), fmt.Sprint(first.Load()))
	if took := time.Since(started); took < 400*time.Millisecond {
		t.Errorf("the second attempt came after %v, without backing off", took)
	}
}

// TestEventsThatOutliveRetentionAreAGap keeps an app down until the journal has dropped what
// it missed: that is noted, for the app's owner to see, also after a restart.
func TestEventsThatOutliveRetentionAreAGap(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	small := func(c *Config) { c.RetentionBytes = 50_000 }
	h := run(t, dir, small)
	a := h.install("gap", "r:devices:*")
	var down atomic.Bool
	down.Store(true)
	a.answers(func(c object) int {
		if down.Load() && get(c, "messageType") == "EVENT" {
			return http.StatusServiceUnavailable
		}
		return http.StatusOK
	})
	light := h.device("Ceiling light")
	a.subscribe("DEVICE", object{"deviceId": light, "capability": "switchLevel", "stateChangeOnly": false})
	h.report(light, "switchLevel", "level", 1)
	eventually(t, "the app is behind", func() bool { return get(a.delivery(), "state") == "waiting" })
	var lines strings.Builder
	for v := range 1000 {
		fmt.Fprintf(&lines, `{"deviceId":%q,"capability":"switchLevel","attribute":"level","value":%d}`+"\n", light, v%100)
	}
	h.ok("POST", "/hark/v1/events", lines.String())
	h.report(light, "switchLevel", "level", 100)
	down.Store(false)
	n := 0
	for get(a.event(), "deviceEvent", "value") != "100" {
		n++
	}
	if n == 0 || n >= 1000 {
		t.Errorf("%d of 1001 events came, want those that were kept", n)
	}
	h.stop()
	h = run(t, dir, small)
	d := h.ok("GET", "/hark/v1/installedapps/"+a.installed+"/delivery", nil)
	if get(d, "gaps", 0, "before") == "" || get(d, "gaps", 1) != "" {
		t.Errorf("the gaps are %s, want one", get(d, "gaps"))
	}
	h.ok("DELETE", "/installedapps/"+a.installed, nil)
}
