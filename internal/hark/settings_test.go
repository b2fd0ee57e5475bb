package hark

import (
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestBatches has an app take several events in a call: those that gather, and those that it
// missed; one that it refuses is found, and keeps no other back.
func TestBatches(t *testing.T) {
	t.Parallel()
	h := run(t, t.TempDir())
	light := h.device("Ceiling light")
	a := h.install("batches", "r:devices:*")
	h.ok("PUT", "/hark/v1/apps/batches/delivery", object{"maxEvents": 10, "maxDelay": "1m", "retries": []string{"1h"}})
	a.subscribe("DEVICE", object{"deviceId": light, "capability": "switchLevel", "stateChangeOnly": false})
	level := func(values ...int) {
		var events []object
		for _, v := range values {
			events = append(events, object{"deviceId": light, "capability": "switchLevel", "attribute": "level", "value": v})
		}
		h.ok("POST", "/hark/v1/events", events)
	}
	values := func(call object) (list []string) {
		data, _ := call["eventData"].(object)
		events, _ := data["events"].([]any)
		for _, e := range events {
			list = append(list, get(e, "deviceEvent", "value"))
		}
		return list
	}
	for get(a.next(), "messageType") != "CONFIRMATION" {
	}
	level(1, 2, 3)
	eventually(t, "three events gather", func() bool { return get(a.delivery(), "queued") == "3" })
	level(4, 5, 6, 7, 8, 9, 10) // the tenth does not wait for the minute to be over
	equal(t, "the first call", fmt.Sprint(values(a.next())), "[1 2 3 4 5 6 7 8 9 10]")

	// What gathers goes out when its time has come.
	h.ok("PUT", "/hark/v1/apps/batches/delivery", object{"maxEvents": 10, "maxDelay": "50ms", "retries": []string{"1h"}})
	level(11)
	equal(t, "the second call", fmt.Sprint(values(a.next())), "[11]")

	// One of ten is refused: the other nine arrive, in order.
	var calls atomic.Int32
	a.answers(func(call object) int {
		calls.Add(1)
		if slices.Contains(values(call), "66") {
			return http.StatusBadRequest
		}
		return http.StatusOK
	})
	level(61, 62, 63, 64, 65, 66, 67, 68, 69, 70)
	var got []string
	for range 9 {
		got = append(got, values(a.next())...)
	}
	equal(t, "what arrives around the refused one", fmt.Sprint(got), "[61 62 63 64 65 67 68 69 70]")
	equal(t, "how many are refused", get(a.delivery(), "refused"), "1")
	if n := calls.Load(); n != 11 {
		t.Errorf("%d calls, want one of ten events and ten of one", n)
	}

	// An app that was away gets what it missed in full calls.
	a.answers(func(object) int { return http.StatusServiceUnavailable })
	for n := range 35 {
		level(n)
	}
	eventually(t, "the app is behind", func() bool { return get(a.delivery(), "failures") != "0" })
	a.answers(func(object) int { return http.StatusOK })
	var sizes []int
	got = nil
	for len(got) < 35 {
		v := values(a.next())
		sizes, got = append(sizes, len(v)), append(got, v...)
	}
	for n, v := range got {
		equal(t, "the order", v, fmt.Sprint(n))
	}
	if len(sizes) > 6 {
		t.Errorf("35 missed events came in calls of %v", sizes)
	}
}

// TestSignatureSchemes has an app choose all of them, and verifies each.
func TestSignatureSchemes(t *testing.T) {
	t.Parallel()
	h := run(t, t.TempDir())
	lamp := h.device("Floor lamp")
	a := h.install("schemes", "r:devices:*")
	a.subscribe("DEVICE", object{"deviceId": lamp})
	set := h.ok("PUT", "/hark/v1/apps/schemes/delivery", object{"signatures": []string{"RSA", "ECDSA", "STANDARD_WEBHOOKS"}})
	secret := get(set, "secret")
	type call struct {
		header http.Header
		body   []byte
		path   string
	}
	calls := make(chan call, 10)
	var down atomic.Bool
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		b, _ := io.ReadAll(q.Body)
		calls <- call{q.Header, b, q.URL.Path}
		if down.Swap(false) {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(target.Close)
	h.ok("PUT", "/apps/schemes", object{"appName": "schemes", "displayName": "S", "appType": "API_ONLY", "apiOnly": object{"targetUrl": target.URL}})
	<-calls // CONFIRMATION
	verify := func(c call, secrets ...string) {
		t.Helper()
		algorithms := map[string]string{}
		for _, authorization := range c.header.Values("Authorization") {
			params := map[string]string{}
			for _, m := range parameter.FindAllStringSubmatch(authorization, -1) {
				params[m[1]] = m[2]
			}
			sig, _ := base64.StdEncoding.DecodeString(params["signature"])
			hash := sha256.Sum256([]byte("(request-target): post " + c.path + "\ndigest: " + c.header.Get("Digest") + "\ndate: " + c.header.Get("Date")))
			switch key := a.fetch(h.server.BaseURL() + params["keyId"]).(type) {
			case *rsa.PublicKey:
				if rsa.VerifyPKCS1v15(key, 5, hash[:], sig) != nil { // 5 is SHA-256
					t.Error("the RSA signature does not verify")
				}
			case *ecdsa.PublicKey:
				if !ecdsa.VerifyASN1(key, hash[:], sig) {
					t.Error("the ECDSA signature does not verify")
				}
			}
			algorithms[params["algorithm"]] = params["keyId"]
		}
		if len(algorithms) != 2 || algorithms["rsa-sha256"] == "" || algorithms["ecdsa-sha256"] == "" {
			t.Errorf("signed by %v", algorithms)
		}
		var want []string
		for _, s := range secrets {
			key, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(s, "whsec_"))
			mac := hmac.New(sha256.New, key)
			fmt.Fprintf(mac, "%s.%s.%s", c.header.Get("webhook-id"), c.header.Get("webhook-timestamp"), c.body)
			want = append(want, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
		}
		equal(t, "webhook-signature", c.header.Get("webhook-signature"), strings.Join(want, " "))
	}
	down.Store(true)
	h.report(lamp, "switch", "switch", "on")
	first, second := <-calls, <-calls
	verify(first, secret)
	verify(second, secret)
	equal(t, "the id in the second attempt", second.header.Get("webhook-id"), first.header.Get("webhook-id"))

	// A new secret signs beside the old one for a day.
	renewed := get(h.ok("POST", "/hark/v1/apps/schemes/delivery/secret", nil), "secret")
	if renewed == secret {
		t.Error("the secret is the old one")
	}
	h.report(lamp, "switch", "switch", "off")
	verify(<-calls, renewed, secret)

	// Only the app's developer sees the secret.
	h.as(a.access).refused(http.StatusForbidden, "GET", "/hark/v1/apps/schemes/delivery", nil)
	for field, bad := range map[string]any{"signatures": []string{"ROT13"}, "maxEvents": -1, "timeout": "1h", "retries": []string{"-5s"}, "secret": "whsec_short"} {
		body := object{"signatures": []string{"STANDARD_WEBHOOKS"}}
		body[field] = bad
		equal(t, "the target of the refusal", get(h.refused(http.StatusUnprocessableEntity, "PUT", "/hark/v1/apps/schemes/delivery", body), "target"), field)
	}
}

// TestKeyRotation rotates the signing keys while events flow: every request verifies, and the old
// certificates stay served.
func TestKeyRotation(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := run(t, dir)
	light := h.device("Ceiling light")
	a := h.install("rotating", "r:devices:*")
	a.subscribe("DEVICE", object{"deviceId": light, "stateChangeOnly": false})
	// An app that verifies by the public key that it was given.
	given := receive(t, h.server.BaseURL())
	public := func() string { return get(h.ok("GET", "/apps/given", nil), "webhookSmartApp", "publicKey") }
	given.public = public
	made := h.ok("POST", "/apps?requireConfirmation=true", object{"appName": "given", "displayName": "G", "appType": "WEBHOOK_SMART_APP", "webhookSmartApp": object{"targetUrl": given.URL}})
	installed := h.ok("POST", "/installedapps", object{"appId": get(made, "app", "appId"), "locationId": h.location, "permissions": []string{"r:devices:*"}})
	for get(given.next(), "lifecycle") != "INSTALL" {
	}
	b := &app{instance: h, receiver: given, installed: get(installed, "installedApp", "installedAppId"), access: h.token}
	b.subscribe("DEVICE", object{"deviceId": light, "stateChangeOnly": false})

	keys := func() []any { return h.ok("GET", "/hark/v1/keys", nil)["items"].([]any) }
	before := keys()
	if len(before) != 2 {
		t.Fatalf("%d keys", len(before))
	}
	var wait sync.WaitGroup
	const events = 60
	wait.Go(func() {
		for n := range events {
			h.ok("POST", "/hark/v1/events", object{"deviceId": light, "capability": "switchLevel", "attribute": "level", "value": n})
		}
	})
	wait.Go(func() {
		for range 3 {
			time.Sleep(20 * time.Millisecond)
			h.ok("POST", "/hark/v1/keys", nil)
		}
	})
	a.values(events) // the receivers verify each
	b.values(events)
	wait.Wait()
	after := keys()
	if len(after) != 8 || get(after[0], "keyId") == get(before[0], "keyId") {
		t.Errorf("%d keys", len(after))
	}
	for _, k := range before {
		if a.fetch(h.server.BaseURL()+get(k, "keyId")) == nil {
			t.Errorf("the old certificate %s is gone", get(k, "keyId"))
		}
		equal(t, "an old key's state", get(after[slices.IndexFunc(after, func(x any) bool { return get(x, "keyId") == get(k, "keyId") })], "current"), "false")
	}
	// The second app moves to the newest key when its developer says so.
	old := public()
	h.ok("PUT", "/apps/given/signature-type", object{"signatureType": "APP_RSA"})
	if public() == old {
		t.Error("the app keeps the old key")
	}
	h.report(light, "switchLevel", "level", 99)
	b.only("99")
	a.only("99")
	// Keys outlive a restart.
	h.stop()
	h = run(t, dir)
	equal(t, "the keys after a restart", get(h.ok("GET", "/hark/v1/keys", nil)["items"].([]any)[0], "keyId"), get(after[0], "keyId"))
	h.as(a.access).refused(http.StatusForbidden, "POST", "/hark/v1/keys", nil)
}
