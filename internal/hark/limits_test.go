package hark

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func platform(c *Config) { c.PlatformLimits = true }

// TestPlatformGuardrails reaches each guardrail that is rehearsed, and none without the rehearsal.
func TestPlatformGuardrails(t *testing.T) {
	t.Parallel()
	for _, rehearsed := range []bool{true, false} {
		h := run(t, t.TempDir(), func(c *Config) { c.PlatformLimits = rehearsed })
		full := func(what string, status int, method, path string, body object) {
			t.Helper()
			if !rehearsed {
				h.ok(method, path, body)
				return
			}
			refusal := h.refused(status, method, path, body)
			contains(t, what, get(refusal, "message"), what, "--platform-limits")
			if code := get(refusal, "code"); status == http.StatusUnprocessableEntity && code != "LimitError" {
				t.Errorf("%s: the code is %s", what, code)
			}
		}
		a := h.install("limited", everything...)
		lamp, path := h.device("Floor lamp"), "/installedapps/"+a.installed

		// Forty subscriptions, under parallel requests; the rate is forty too, so it is a new app's.
		subscription := func(i int) object {
			return object{"sourceType": "DEVICE", "device": object{"deviceId": lamp, "attribute": fmt.Sprint("a", i)}}
		}
		var made, refused atomic.Int32
		var wait sync.WaitGroup
		for i := range 41 {
			wait.Go(func() {
				switch status, _, content := h.as(a.access).try("POST", path+"/subscriptions", subscription(i)); status {
				case http.StatusOK:
					made.Add(1)
				case http.StatusUnprocessableEntity, http.StatusTooManyRequests:
					refused.Add(1)
				default:
					t.Errorf("subscribe: %d %s", status, content)
				}
			})
		}
		wait.Wait()
		if want := map[bool]int32{true: 40, false: 41}[rehearsed]; made.Load() != want || made.Load()+refused.Load() != 41 {
			t.Errorf("rehearsed %v: %d subscriptions are made, %d refused", rehearsed, made.Load(), refused.Load())
		}
		full("40 subscriptions in an installed app", http.StatusUnprocessableEntity, "POST", path+"/subscriptions", subscription(99))

		for i := range 6 {
			h.ok("POST", path+"/schedules", object{"name": fmt.Sprint("s", i), "cron": object{"expression": "15 10 * * ? *"}})
		}
		full("6 schedules", http.StatusUnprocessableEntity, "POST", path+"/schedules", object{"name": "s6", "cron": object{"expression": "15 10 * * ? *"}})
		h.ok("DELETE", path+"/schedules/s0", nil)
		h.ok("POST", path+"/schedules", object{"name": "once", "once": object{"time": time.Now().Add(time.Hour).UnixMilli()}})
		for range 9 {
			h.ok("POST", "/locations", object{"name": "Home"})
		}
		full("10 locations", http.StatusUnprocessableEntity, "POST", "/locations", object{"name": "Home"})
		for i := range 34 {
			h.ok("POST", "/apps", object{"appName": fmt.Sprint("app-", i), "displayName": "A", "appType": "API_ONLY", "apiOnly": object{"targetUrl": a.URL}})
		}
		full("35 apps of the type API_ONLY", http.StatusUnprocessableEntity, "POST", "/apps", object{"appName": "one-more", "displayName": "A", "appType": "API_ONLY", "apiOnly": object{"targetUrl": a.URL}})
		profile := h.ok("POST", "/deviceprofiles", object{"name": "p", "components": []object{{"id": "main", "capabilities": []object{{"id": "switch"}}}}})
		device := object{"label": "D", "locationId": h.location, "app": object{"profileId": get(profile, "id"), "installedAppId": a.installed}}
		for range 30 {
			h.ok("POST", "/devices", device)
		}
		full("30 devices", http.StatusUnprocessableEntity, "POST", "/devices", device)

		// Streams: the older path answers 409, the newer 422; a closed one counts no more at once.
		stream := object{"name": "s", "subscriptionFilters": []object{}}
		first := h.listen(get(h.ok("POST", "/subscriptions", stream), "registrationUrl"), "")
		second := h.ok("POST", "/subscriptions", stream)
		if rehearsed {
			full("2 event streams", http.StatusConflict, "POST", "/subscriptions", stream)
			full("2 event streams", http.StatusUnprocessableEntity, "POST", "/v1/sse/subscriptions", stream)
			h.as(a.access).ok("POST", "/subscriptions", object{"name": "another's"})
			first.close()
			eventually(t, "a closed stream makes room at once", func() bool {
				status, _, _ := h.try("POST", "/sse/subscriptions", stream)
				return status == http.StatusOK
			})
			h.ok("DELETE", "/subscriptions/"+get(second, "subscriptionId"), nil)
			h.ok("POST", "/subscriptions", stream)
		} else {
			full("2 event streams", http.StatusConflict, "POST", "/subscriptions", stream)
		}
	}
}

// TestPlatformRates exceeds a rate of each kind.
func TestPlatformRates(t *testing.T) {
	t.Parallel()
	h := run(t, t.TempDir(), platform)
	a := h.install("rates", everything...)
	path := "/installedapps/" + a.installed + "/subscriptions"
	own := h.as(a.access)
	for left := 14; left >= 0; left-- {
		status, header, content := own.try("GET", path, nil)
		if status != http.StatusOK {
			t.Fatalf("call %d: %d %s", 15-left, status, content)
		}
		equal(t, "the limit", header.Get("X-RateLimit-Limit"), "15")
		equal(t, "what is left", header.Get("X-RateLimit-Remaining"), fmt.Sprint(left))
		if reset, err := strconv.Atoi(header.Get("X-RateLimit-Reset")); err != nil || reset <= 0 || reset > 15*60*1000 {
			t.Errorf("the reset is %q, want milliseconds", header.Get("X-RateLimit-Reset"))
		}
	}
	refusal := own.refused(http.StatusTooManyRequests, "GET", "/v1"+path, nil)
	equal(t, "the code", get(refusal, "code"), "TooManyRequestError")
	contains(t, "the refusal", get(refusal, "message"), "15 calls in 15m0s", "reading and deleting subscriptions", "--platform-limits")
	if _, header, _ := own.try("GET", path, nil); header.Get("Retry-After") == "" {
		t.Error("the refusal does not say when to come again")
	}
	h.ok("GET", path, nil)                                            // another caller has a window of its own
	a.subscribe("DEVICE", object{"deviceId": h.device("Floor lamp")}) // and so has creating

	lamp, light := h.device("Floor lamp"), h.device("Ceiling light")
	for range 12 {
		h.ok("GET", "/devices/"+lamp+"/status", nil)
	}
	contains(t, "of a device", get(h.refused(http.StatusTooManyRequests, "GET", "/devices/"+lamp+"/status", nil), "message"), "the status of a device")
	h.ok("GET", "/devices/"+light+"/status", nil)

	// Executions are delayed, not lost, and say so.
	var lines strings.Builder
	for i := range 30 {
		lines.WriteString(fmt.Sprintf(`{"deviceId":%q,"capability":"switch","attribute":"switch","value":%q}`+"\n", lamp, []string{"on", "off"}[i%2]))
	}
	h.ok("POST", "/hark/v1/events", lines.String())
	a.values(20)
	eventually(t, "the app waits", func() bool { return get(a.delivery(), "state") == "waiting" })
	contains(t, "why it waits", get(a.delivery(), "lastFailure"), "delayed", "--platform-limits")
	equal(t, "the failures", get(a.delivery(), "failures"), "0")
	if len(a.calls) > 0 {
		t.Error("more than 20 executions in a minute")
	}

	plain := run(t, t.TempDir())
	if _, header, _ := plain.try("GET", "/locations", nil); header.Get("X-RateLimit-Limit") != "" {
		t.Error("there is a rate without --platform-limits")
	}
}
