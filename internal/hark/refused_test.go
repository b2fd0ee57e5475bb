package hark

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestRefusedEventsDoNotHoldUpOthers has an app refuse some events: it gets the others at once, the
// refused ones again on a schedule, and those that it refuses to the end are dead letters.
func TestRefusedEventsDoNotHoldUpOthers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := run(t, dir)
	light := h.device("Ceiling light")
	a := h.install("picky", "r:devices:*")
	h.ok("PUT", "/hark/v1/apps/picky/delivery", object{"retries": []string{"50ms", "50ms", "50ms"}})
	a.subscribe("DEVICE", object{"deviceId": light, "subscriptionName": "levels"})
	var mended atomic.Bool
	attempts := make(chan string, 100)
	a.answers(func(call object) int {
		value := get(call, "eventData", "events")
		if !mended.Load() && (strings.Contains(value, `"value":13`) || strings.Contains(value, `"value":66`)) {
			attempts <- value
			return http.StatusBadRequest
		}
		return http.StatusOK
	})
	level := func(v int) string {
		return get(h.ok("POST", "/hark/v1/events", object{"deviceId": light, "capability": "switchLevel", "attribute": "level", "value": v}), "results", 0, "eventId")
	}
	level(1)
	bad := level(13)
	level(2)
	equal(t, "the events around the refused one", fmt.Sprint(a.values(2)), "[1 2]")
	path := "/hark/v1/installedapps/" + a.installed
	letter := func() object {
		list := h.ok("GET", path+"/refused", nil)["items"].([]any)
		if len(list) == 0 {
			return nil
		}
		return list[0].(object)
	}
	eventually(t, "it is a dead letter", func() bool { return get(letter(), "dead") == "true" })
	if len(attempts) != 4 {
		t.Errorf("%d attempts, want one and three more", len(attempts))
	}
	contains(t, "the dead letter", get(letter()), bad, "levels", "answered 400")
	equal(t, "the delivery status", get(a.delivery(), "state")+get(a.delivery(), "deadLetters")+get(a.delivery(), "refused"), "current10")
	explained := h.ok("POST", "/hark/v1/explain", object{"eventId": bad})["explanations"].([]any)[0]
	equal(t, "the verdict", get(explained, "verdict"), "dead letter")
	contains(t, "why", get(explained, "why"), "refused it 4 times", "answered 400")

	// It is kept over a restart, and can be tried again or given up.
	h.stop()
	h = run(t, dir)
	a.instance = h
	equal(t, "the dead letter after a restart", get(letter(), "eventId")+get(letter(), "attempts"), bad+"4")
	mended.Store(true)
	equal(t, "how many are tried again", get(h.ok("POST", path+"/refused/"+bad+"/retry", nil), "count"), "1")
	e := a.event()
	equal(t, "the event, late", get(e, "deviceEvent", "value")+get(e, "deviceEvent", "eventId"), "13"+bad)
	eventually(t, "nothing is left", func() bool { return letter() == nil })
	mended.Store(false)
	worse := level(66)
	eventually(t, "another one is refused", func() bool { return letter() != nil })
	equal(t, "how many are given up", get(h.ok("DELETE", path+"/refused/"+worse, nil), "count"), "1")
	if letter() != nil {
		t.Error("what was given up is still there")
	}
	other := h.install("other", "r:devices:*")
	h.as(other.access).refused(http.StatusForbidden, "GET", path+"/refused", nil)
}

// TestARefusedEventWaitsOutARestart stops while a refused event waits to be tried again.
func TestARefusedEventWaitsOutARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := run(t, dir)
	lamp := h.device("Floor lamp")
	a := h.install("shy", "r:devices:*")
	h.ok("PUT", "/hark/v1/apps/shy/delivery", object{"retries": []string{"1h"}})
	a.subscribe("DEVICE", object{"deviceId": lamp})
	a.answers(func(object) int { return http.StatusForbidden })
	h.report(lamp, "switch", "switch", "on")
	eventually(t, "it is refused", func() bool { return get(a.delivery(), "refused") == "1" })
	contains(t, "what explain says", get(h.ok("POST", "/hark/v1/explain", object{"eventId": get(h.ok("GET", "/hark/v1/installedapps/"+a.installed+"/refused", nil), "items", 0, "eventId")}), "explanations", 0, "why"), "tried again at")
	h.stop()
	a.answers(func(object) int { return http.StatusOK })
	h = run(t, dir)
	h.ok("POST", "/hark/v1/installedapps/"+a.installed+"/refused/retry", nil)
	a.only("on")
	a.instance = h
	h.report(lamp, "switch", "switch", "off")
	a.only("off")
}

// TestGoneAppsArePaused has an app answer 410, and its owner resume it.
func TestGoneAppsArePaused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := run(t, dir)
	lamp := h.device("Floor lamp")
	a := h.install("gone", "r:devices:*")
	a.subscribe("DEVICE", object{"deviceId": lamp, "stateChangeOnly": false})
	var calls atomic.Int32
	a.answers(func(object) int { calls.Add(1); return http.StatusGone })
	before := calls.Load()
	h.report(lamp, "switch", "switch", "on")
	eventually(t, "the app is paused", func() bool { return strings.Contains(get(a.delivery(), "heldBecause"), "paused") })
	contains(t, "why", get(a.delivery(), "heldBecause"), "410 Gone", "/resume")
	h.report(lamp, "switch", "switch", "off")
	h.stop()
	h = run(t, dir)
	a.instance = h
	contains(t, "after a restart", get(a.delivery(), "heldBecause"), "paused since")
	if n := calls.Load() - before; n > 2 { // of which one may be the CONFIRMATION
		t.Errorf("%d calls of an app that is gone", n)
	}
	a.answers(func(object) int { return http.StatusOK })
	h.ok("POST", "/hark/v1/installedapps/"+a.installed+"/resume", nil)
	equal(t, "what waited", fmt.Sprint(a.values(2)), "[on off]")

	// By hand, too.
	h.ok("POST", "/hark/v1/installedapps/"+a.installed+"/pause", object{"reason": "the cellar is being painted"})
	h.report(lamp, "switch", "switch", "on")
	eventually(t, "it waits", func() bool { return get(a.delivery(), "position") != get(a.delivery(), "newestEvent") })
	equal(t, "its state", get(a.delivery(), "state"), "paused")
	contains(t, "the reason", get(a.delivery(), "heldBecause"), "the cellar is being painted")
	h.as(a.access).ok("POST", "/hark/v1/installedapps/"+a.installed+"/resume", nil)
	a.only("on")
}

// TestRetryAfterIsHonoured has an app ask to be left alone for a while.
func TestRetryAfterIsHonoured(t *testing.T) {
	t.Parallel()
	h := run(t, t.TempDir())
	lamp := h.device("Floor lamp")
	a := h.install("busy", "r:devices:*")
	a.subscribe("DEVICE", object{"deviceId": lamp})
	a.headers.Store("Retry-After", "30")
	a.answers(func(object) int { return http.StatusServiceUnavailable })
	h.report(lamp, "switch", "switch", "on")
	eventually(t, "the app waits", func() bool { return get(a.delivery(), "nextAttempt") != "" })
	next, err := time.Parse(time.RFC3339, get(a.delivery(), "nextAttempt"))
	if left := time.Until(next); err != nil || left < 20*time.Second || left > 31*time.Second {
		t.Errorf("the next attempt is in %v: %v", left, err)
	}
}
