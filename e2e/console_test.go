package e2e

import (
	"context"
	"flag"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"hark/internal/torture"
)

var update = flag.Bool("update", false, "write the screenshots in docs/ anew")

// browser starts a headless Chromium for the length of the test.
func browser(t *testing.T) context.Context {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		missing(t, "Chromium is not installed")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.WindowSize(1000, 900))
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil { // the browser lives as long as the context of the first call
		t.Fatal(err)
	}
	ctx, cancel = context.WithTimeout(ctx, 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// ask runs an action that has a value.
func ask[T any](t *testing.T, ctx context.Context, action chromedp.Action[T]) T {
	t.Helper()
	v, err := chromedp.Run(ctx, action)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestConsoleInARealBrowser opens the address that hark dev prints, opens the front door with
// a button, and sees an app that is down.
func TestConsoleInARealBrowser(t *testing.T) {
	t.Parallel()
	ctx := browser(t)
	h := start(t, "--listen", "127.0.0.1:0")
	down, err := torture.NewReceiver("power-log", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(down.Close)
	down.Down(true)
	if _, err := h.Install(down.Name, down.URL, map[string]any{}); err != nil {
		t.Fatal(err)
	}
	var created struct{ App struct{ AppID string } }
	h.call("POST", "/apps", map[string]any{"appName": "away", "displayName": "Away light", "appType": "API_ONLY", "apiOnly": map[string]any{"targetUrl": "http://light.invalid/"}}, &created)
	h.call("POST", "/virtualdevices/prototypes", map[string]any{
		"name": "Heater", "prototype": "VIRTUAL_METERED_SWITCH", "owner": map[string]any{"ownerType": "LOCATION", "ownerId": h.LocationID},
	}, nil)
	h.call("POST", "/virtualdevices/"+h.device("Heater")+"/events", map[string]any{"deviceEvents": []any{map[string]any{"capability": "powerMeter", "attribute": "power", "value": 1500}}}, nil)

	if err := chromedp.Do(ctx,
		chromedp.Navigate(h.BaseURL+"/?token="+h.Token),
		chromedp.Click(chromedp.CSS(`button[aria-label="Front door: report open"]`)),
		chromedp.WaitVisible(chromedp.CSS(`button[aria-label="Front door: report closed"]`)),
	); err != nil {
		t.Fatal(err)
	}
	text, address := ask(t, ctx, chromedp.Text(chromedp.CSS("body"))), ask(t, ctx, chromedp.Location())
	for _, part := range []string{"Home is in the mode Home", "contact: open", "Away light", "is PENDING: nothing is delivered", "answered 503"} {
		if !strings.Contains(text, part) {
			t.Errorf("the page does not say %q:\n%s", part, text)
		}
	}
	var installed struct {
		Items []struct{ InstalledAppID string }
	}
	h.call("GET", "/installedapps", nil, &installed)
	h.call("POST", "/hark/v1/installedapps/"+installed.Items[0].InstalledAppID+"/pause", map[string]any{"reason": "the cellar is being painted"}, nil)
	down.Down(false)
	if err := chromedp.Do(ctx,
		chromedp.Navigate(h.BaseURL+"/"),
		chromedp.WaitVisible(chromedp.CSS(`form[action="/console/resume"]`)),
	); err != nil {
		t.Fatal(err)
	}
	if text := ask(t, ctx, chromedp.Text(chromedp.CSS("body"))); !strings.Contains(text, "the cellar is being painted") {
		t.Errorf("the page does not say why the app is paused:\n%s", text)
	}
	if err := chromedp.Do(ctx,
		chromedp.Click(chromedp.CSS(`form[action="/console/resume"] button`)),
		chromedp.WaitNotPresent(chromedp.CSS(`form[action="/console/resume"]`)),
	); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(address, h.Token) {
		t.Errorf("the token stays in the address: %s", address)
	}
	if *update {
		if err := os.WriteFile("../docs/console.png", ask(t, ctx, chromedp.FullScreenshot(100)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var status struct {
		Contact struct{ Value string }
	}
	h.call("GET", "/devices/"+h.device("Front door")+"/components/main/capabilities/contactSensor/status", nil, &status)
	want(t, "the door", status.Contact.Value, "open")

	if err := chromedp.Do(ctx,
		chromedp.Click(chromedp.CSS("header form button")),
		chromedp.SendKeys(chromedp.CSS("#token"), "nonsense"),
		chromedp.Submit(chromedp.CSS("#token")),
		chromedp.WaitVisible(chromedp.CSS(".message")),
	); err != nil {
		t.Fatal(err)
	}
	text = ask(t, ctx, chromedp.Text(chromedp.CSS("body")))
	if strings.Contains(text, "Front door") || !strings.Contains(text, "not known here") {
		t.Errorf("a stranger sees:\n%s", text)
	}
}

// TestConsoleRefusesOtherSites posts a form as a page of another origin would.
func TestConsoleRefusesOtherSites(t *testing.T) {
	t.Parallel()
	h := start(t, "--listen", "127.0.0.1:0")
	form := url.Values{"device": {h.device("Front door lock")}, "capability": {"lock"}, "attribute": {"lock"}, "value": {"unlocked"}}.Encode()
	post := func(origin string) int {
		r, err := http.NewRequest("POST", h.BaseURL+"/console/report", strings.NewReader(form))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", origin)
		r.AddCookie(&http.Cookie{Name: "hark_token", Value: h.Token})
		response, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return response.StatusCode
	}
	want(t, "the answer to another site's form", post("https://evil.example"), http.StatusForbidden)
	want(t, "the answer to its own form", post(h.BaseURL), http.StatusSeeOther)
}
