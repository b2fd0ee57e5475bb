package hark

import (
	"net/http"
	"sync/atomic"
	"testing"
	"time"
)

// TestExplain makes each reason happen.
func TestExplain(t *testing.T) {
	t.Parallel()
	h := run(t, t.TempDir(), func(c *Config) { c.AutoConfirm = "none" })
	lamp, light := h.device("Floor lamp"), h.device("Ceiling light")
	a := h.install("why", "r:devices:*", "r:locations:*")
	confirmed := func() { h.ok("POST", "/hark/v1/apps/"+a.appID+"/confirm", nil) }
	modes := h.ok("GET", "/locations/"+h.location+"/modes", nil)
	away := get(modes, "items", 1, "id")
	on := object{"deviceId": lamp, "capability": "switch", "attribute": "switch", "value": "on"}
	ask := func(body object) object {
		t.Helper()
		answer := h.ok("POST", "/hark/v1/explain", body)
		return answer["explanations"].([]any)[0].(object)
	}
	expect := func(what string, x object, verdict string, parts ...string) {
		t.Helper()
		equal(t, what, get(x, "verdict"), verdict)
		contains(t, what, get(x, "why"), parts...)
	}
	with := func(detail object, check func()) {
		t.Helper()
		s := a.subscribe("DEVICE", detail)
		check()
		h.ok("DELETE", "/installedapps/"+a.installed+"/subscriptions/"+s, nil)
		eventually(t, "the subscription is gone", func() bool {
			return len(h.ok("POST", "/hark/v1/explain", object{"event": on})["explanations"].([]any)) == 0
		})
	}
	with(object{"deviceId": light}, func() { expect("another device", ask(object{"event": on}), "not matched", light, lamp) })
	with(object{"deviceId": lamp, "capability": "battery"}, func() {
		expect("another capability", ask(object{"event": on}), "not matched", "wants battery, the event has switch")
	})
	with(object{"deviceId": lamp, "componentId": "left"}, func() {
		expect("another component", ask(object{"event": on}), "not matched", "wants left, the event has main")
	})
	with(object{"deviceId": lamp, "attribute": "level"}, func() {
		expect("another attribute", ask(object{"event": on}), "not matched", "wants level, the event has switch")
	})
	with(object{"deviceId": lamp, "value": "off"}, func() {
		expect("another value", ask(object{"event": on}), "not matched", `wants "off", the event has "on"`)
	})
	with(object{"deviceId": lamp, "value": true}, func() { expect("another type", ask(object{"event": on}), "not matched", "a boolean is no string") })
	with(object{"deviceId": lamp, "modes": []string{away}}, func() { expect("another mode", ask(object{"event": on}), "not matched", away) })
	with(object{"deviceId": lamp}, func() {
		off := object{"deviceId": lamp, "capability": "switch", "attribute": "switch", "value": "off"}
		expect("no state change", ask(object{"event": off}), "not matched", "did not change", "stateChangeOnly")
		expect("a pending target", ask(object{"event": on}), "waiting", "PENDING", "/register")
		confirmed()
		x := ask(object{"event": on, "installedAppId": a.installed})
		expect("nothing in the way", x, "would be sent")
		equal(t, "what would be sent", get(x, "sends", "deviceEvent", "value")+get(x, "sends", "deviceEvent", "subscriptionName"), "on"+get(x, "subscription", "id"))
		h.ok("PUT", "/installedapps/"+a.installed+"/configs", object{"permissions": []string{"r:locations:*"}})
		expect("a revoked scope", ask(object{"event": on}), "withheld", "r:devices:"+lamp)
		h.ok("PUT", "/installedapps/"+a.installed+"/configs", object{"permissions": []string{"r:devices:*", "r:locations:*"}})

		event := get(h.ok("POST", "/hark/v1/events", on), "results", 0, "eventId")
		a.only("on")
		eventually(t, "the past event is delivered", func() bool { return get(ask(object{"eventId": event}), "verdict") == "delivered" })
		var down atomic.Bool
		down.Store(true)
		a.answers(func(object) int {
			if down.Load() {
				return http.StatusServiceUnavailable
			}
			return http.StatusOK
		})
		event = get(h.ok("POST", "/hark/v1/events", off), "results", 0, "eventId")
		eventually(t, "the app is behind", func() bool { return get(a.delivery(), "state") == "waiting" })
		expect("an app that is behind", ask(object{"eventId": event}), "waiting", "behind since", "503")
		down.Store(false)
		a.only("off")
	})
	past := get(h.ok("POST", "/hark/v1/events", on), "results", 0, "eventId")
	a.subscribe("DEVICE", object{"deviceId": lamp})
	expect("a subscription made later", ask(object{"eventId": past}), "not matched", "before the subscription was made")

	// Of events that no device reports, too.
	a.subscribe("DEVICE_HEALTH", object{"deviceIds": []string{light}})
	eventOf := func(source string, cause func()) string {
		t.Helper()
		of := a.subscribe(source, object{"subscriptionName": "cause"})
		cause()
		e := a.event()
		h.ok("DELETE", "/installedapps/"+a.installed+"/subscriptions/"+of, nil)
		return get(e, member(get(e, "eventType")), "eventId")
	}
	offline := eventOf("DEVICE_HEALTH", func() { h.ok("PUT", "/hark/v1/devices/"+lamp+"/health", object{"state": "OFFLINE"}) })
	for _, x := range h.ok("POST", "/hark/v1/explain", object{"eventId": offline})["explanations"].([]any) {
		switch {
		case get(x, "subscription", "sourceType") == "DEVICE":
			expect("another type of event", x.(object), "not matched", "DEVICE_HEALTH_EVENT")
		case get(x, "subscription", "deviceHealth", "deviceIds") == "[]":
			expect("one that was deleted since", x.(object), "delivered")
		default:
			expect("another device of a list", x.(object), "not matched", "none of the subscription's deviceIds", light, lamp)
		}
	}

	h.refused(http.StatusForbidden, "POST", "/hark/v1/explain", object{"eventId": lamp})
	h.refused(http.StatusUnprocessableEntity, "POST", "/hark/v1/explain", object{})
	h.refused(http.StatusUnprocessableEntity, "POST", "/hark/v1/explain", object{"event": object{"deviceId": lamp, "capability": "switch", "attribute": "switch", "value": "dim"}})
	other := h.install("stranger", "r:devices:"+light)
	h.as(other.access).refused(http.StatusForbidden, "POST", "/hark/v1/explain", object{"eventId": past})
	h.as(other.access).refused(http.StatusForbidden, "POST", "/hark/v1/explain", object{"eventId": past, "installedAppId": a.installed})
}

// TestPreview asks what subscriptions that never were would have sent.
func TestPreview(t *testing.T) {
	t.Parallel()
	h := run(t, t.TempDir())
	lamp, light := h.device("Floor lamp"), h.device("Ceiling light")
	a := h.install("later", "r:devices:*")
	h.report(lamp, "switch", "switch", "on")
	h.report(light, "switchLevel", "level", 30)
	h.report(lamp, "switch", "switch", "on")
	between := time.Now().UTC()
	eventually(t, "a later millisecond", func() bool { return time.Since(between) > 2*time.Millisecond })
	h.report(lamp, "switch", "switch", "off")
	ask := func(detail object, since any) object {
		return object{"installedAppId": a.installed, "subscription": object{"sourceType": "DEVICE", "device": detail}, "since": since}
	}
	for _, c := range []struct {
		detail object
		since  any
		want   string
	}{
		{object{"deviceId": lamp}, time.Time{}, "2"},
		{object{"deviceId": lamp, "stateChangeOnly": false}, time.Time{}, "3"},
		{object{"deviceId": lamp, "value": "on"}, time.Time{}, "1"},
		{object{"deviceId": lamp}, between, "1"},
		{object{"deviceId": light, "capability": "switch"}, time.Time{}, "0"},
	} {
		equal(t, "the number of events", get(h.ok("POST", "/hark/v1/preview", ask(c.detail, c.since)), "count"), c.want)
	}
	equal(t, "the event", get(h.ok("POST", "/hark/v1/preview", ask(object{"deviceId": light}, time.Time{})), "events", 0, "deviceEvent", "value"), "30")
	equal(t, "the subscriptions", get(h.ok("GET", "/installedapps/"+a.installed+"/subscriptions", nil), "items"), "[]")
	other := h.install("blind", "r:devices:"+light)
	refusal := ask(object{"deviceId": lamp}, time.Time{})
	refusal["installedAppId"] = other.installed
	contains(t, "what the app may not see", get(h.refused(http.StatusForbidden, "POST", "/hark/v1/preview", refusal), "message"), "r:devices:"+lamp)
	h.refused(http.StatusUnprocessableEntity, "POST", "/hark/v1/preview", object{"installedAppId": a.installed})
}
