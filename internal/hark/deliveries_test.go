package hark

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestDeliveriesAreNoted lets attempts end in each way, and finds them by app, device, event,
// outcome and time.
func TestDeliveriesAreNoted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := run(t, dir)
	lamp, light := h.device("Floor lamp"), h.device("Ceiling light")
	a := h.install("noted", "r:devices:*")
	a.subscribe("DEVICE", object{"deviceId": lamp, "subscriptionName": "lamp", "stateChangeOnly": false})
	a.subscribe("DEVICE", object{"deviceId": light, "subscriptionName": "light", "stateChangeOnly": false})
	find := func(query string) []any {
		return h.ok("GET", "/hark/v1/deliveries?"+query, nil)["items"].([]any)
	}
	status := http.StatusOK
	a.answers(func(object) int { return status })
	event := func(device, capability, attribute string, value any) string {
		return get(h.ok("POST", "/hark/v1/events", object{"deviceId": device, "capability": capability, "attribute": attribute, "value": value}), "results", 0, "eventId")
	}
	first := event(lamp, "switch", "switch", "on")
	a.only("on")
	status = http.StatusBadRequest
	refused := event(light, "switchLevel", "level", 7)
	eventually(t, "an event is refused", func() bool { return get(a.delivery(), "refused") == "1" })
	between := time.Now().UTC()
	status = http.StatusServiceUnavailable
	failed := event(lamp, "switch", "switch", "off")
	eventually(t, "an attempt fails", func() bool { return get(a.delivery(), "failures") == "1" })
	status = http.StatusOK
	a.only("off")

	eventually(t, "four attempts are noted", func() bool { return len(find("")) == 4 })
	all := find("")
	var outcomes strings.Builder
	for _, d := range all {
		outcomes.WriteString(get(d, "outcome") + " ")
	}
	equal(t, "the outcomes, newest first", outcomes.String(), "delivered failed refused delivered ")
	one := find("eventId=" + first)[0]
	equal(t, "the request", get(one, "request"), "POST "+a.URL)
	equal(t, "the status", get(one, "status"), "200")
	equal(t, "the response", get(one, "response"), `{"statusCode":200,"eventData":{}}`)
	equal(t, "the subscription", get(one, "events", 0, "subscriptionName"), "lamp")
	equal(t, "the app", get(one, "appName")+get(one, "installedAppId"), "noted"+a.installed)
	for _, part := range []string{"totalMs", "firstByteMs"} {
		if get(one, "latency", part) == "" {
			t.Errorf("the latency has no %s: %s", part, get(one, "latency"))
		}
	}
	explained := h.ok("POST", "/hark/v1/explain", object{"eventId": failed})
	equal(t, "the attempts that explain shows", get(explained, "attempts", 0, "outcome")+" "+get(explained, "attempts", 1, "outcome"), "delivered failed")
	contains(t, "why the second was not delivered", get(find("eventId=" + refused)[0], "message"), "answered 400")
	for query, want := range map[string]int{
		"outcome=refused": 1, "outcome=failed": 1, "outcome=delivered": 2, "deviceId=" + light: 1, "deviceId=" + lamp: 3, "eventId=" + failed: 2,
		"installedAppId=" + a.installed: 4, "installedAppId=" + lamp: 0, "since=" + between.Format(time.RFC3339Nano): 2, "until=" + between.Format(time.RFC3339Nano): 2,
		"after=" + get(all[3], "attemptId"): 3, "before=" + get(all[1], "attemptId"): 2,
	} {
		if got := len(find(query)); got != want {
			t.Errorf("%s finds %d, want %d", query, got, want)
		}
	}
	for _, bad := range []string{"outcome=lost", "since=yesterday", "before=x", "deviceId=1"} {
		name, _, _ := strings.Cut(bad, "=")
		equal(t, "the target of the refusal", get(h.refused(http.StatusBadRequest, "GET", "/hark/v1/deliveries?"+bad, nil), "target"), name)
	}

	// A page at a time, and over a restart.
	h.stop()
	h = run(t, dir)
	var ids []string
	for next := "/hark/v1/deliveries?max=3"; next != ""; {
		page := h.ok("GET", next, nil)
		for _, d := range page["items"].([]any) {
			ids = append(ids, get(d, "attemptId"))
		}
		next = strings.TrimPrefix(get(page, "_links", "next", "href"), h.server.BaseURL())
	}
	if len(ids) != 4 {
		t.Errorf("after a restart, page by page: %v", ids)
	}
	// An app sees its own alone.
	other := h.install("curious", "r:devices:*")
	if got := h.as(other.access).ok("GET", "/hark/v1/deliveries", nil)["items"].([]any); len(got) != 0 {
		t.Errorf("another app sees %d attempts", len(got))
	}
	h.as(other.access).refused(http.StatusForbidden, "GET", "/hark/v1/deliveries?installedAppId="+a.installed, nil)
	if got := h.as(a.access).ok("GET", "/hark/v1/deliveries", nil)["items"].([]any); len(got) != 4 {
		t.Errorf("the app sees %d of its attempts", len(got))
	}
}

// TestTheLogOfAttemptsIsBounded gives it little room.
func TestTheLogOfAttemptsIsBounded(t *testing.T) {
	t.Parallel()
	h := run(t, t.TempDir(), func(c *Config) { c.AttemptBytes = 16 << 10 })
	light := h.device("Ceiling light")
	a := h.install("bounded", "r:devices:*")
	a.subscribe("DEVICE", object{"deviceId": light, "stateChangeOnly": false})
	const events = 900
	var reports []object
	for n := range events {
		reports = append(reports, object{"deviceId": light, "capability": "switchLevel", "attribute": "level", "value": n % 101})
	}
	h.ok("POST", "/hark/v1/events", reports)
	a.values(events)
	eventually(t, "nothing is under way", func() bool { return get(a.delivery(), "state") == "current" })
	newest, kept := "", 0
	for next := "/hark/v1/deliveries?max=200"; next != ""; {
		page := h.ok("GET", next, nil)
		list := page["items"].([]any)
		if kept += len(list); newest == "" {
			newest = get(list, 0, "outcome")
		}
		next = strings.TrimPrefix(get(page, "_links", "next", "href"), h.server.BaseURL())
	}
	if kept == 0 || kept >= events {
		t.Errorf("%d attempts are kept in 16 KiB", kept)
	}
	equal(t, "the newest", newest, "delivered")
}
