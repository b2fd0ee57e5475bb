package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"hark/internal/process"
)

// deed is something that is done in a browser.
type deed = chromedp.Action[chromedp.Void]

func do(t *testing.T, ctx context.Context, what string, deeds ...deed) {
	t.Helper()
	brief, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if err := chromedp.Do(brief, deeds...); err != nil {
		t.Fatalf("%s: %v\n%s", what, err, ask(t, ctx, chromedp.Text(chromedp.CSS("body"))))
	}
}

func click(selector string) deed { return chromedp.Click(chromedp.CSS(selector)) }

func set(selector, value string) deed { return chromedp.SetValue(chromedp.CSS(selector), value) }

// heading waits until the page has the heading.
func heading(t *testing.T, ctx context.Context, want string) {
	t.Helper()
	got := ""
	for deadline := time.Now().Add(20 * time.Second); got != want; time.Sleep(10 * time.Millisecond) {
		got, _ = chromedp.Run(ctx, chromedp.Evaluate[string](`document.readyState === 'complete' && document.querySelector('h2') ? document.querySelector('h2').innerText : ''`)) // between two pages
		if time.Now().After(deadline) {
			t.Fatalf("the page is %q, want %q:\n%s", got, want, ask(t, ctx, chromedp.Text(chromedp.CSS("body"))))
		}
	}
}

// newAnswer is an app that gives one answer to everything. With the status 0 it is not there, with
// hangs it never answers.
func newAnswer(t *testing.T, status int, answer string) (url string) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if status == hangs {
			io.Copy(io.Discard, r.Body) // else nobody sees that the caller is gone
			<-r.Context().Done()
			return
		}
		w.WriteHeader(status)
		io.WriteString(w, answer)
	}))
	if status == 0 {
		s.Close()
	} else {
		t.Cleanup(s.Close)
	}
	return s.URL
}

const hangs = -1

// shoot takes the screenshot for the docs, when it is asked for.
func shoot(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	if *update {
		if err := os.WriteFile("../docs/"+name, ask(t, ctx, chromedp.FullScreenshot(100)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestInstallerInARealBrowser installs, changes and removes a SmartApp with several pages and
// every type of setting, as a person does; its handlers see the exact configuration.
func TestInstallerInARealBrowser(t *testing.T) {
	t.Parallel()
	requireNode(t)
	ctx := browser(t)
	h := start(t, "--listen", "127.0.0.1:0")
	app := h.run("node/settings.js")
	target := fmt.Sprintf("http://127.0.0.1:%v/", app.next("listening")["port"])
	h.sdk(nil, "apps", "create", map[string]any{
		"appName": "night-watch", "displayName": "Night Watch", "description": "Turns a lamp on when a door opens at night", "appType": "WEBHOOK_SMART_APP", "classifications": []string{"AUTOMATION"},
		"webhookSmartApp": map[string]any{"targetUrl": target}, "oauth": map[string]any{"clientName": "Night Watch", "scope": []string{"r:devices:*", "x:devices:*", "r:locations:*"}},
	})
	var scene struct{ SceneID string }
	h.call("POST", "/scenes", map[string]any{"locationId": h.LocationID, "sceneName": "Burglar"}, &scene)
	door, window, light := h.device("Front door"), h.device("Window sensor"), h.device("Ceiling light")
	var modes struct{ Items []struct{ ID string } }
	h.call("GET", "/locations/"+h.LocationID+"/modes", nil, &modes)

	do(t, ctx, "choose a home", chromedp.Navigate(h.BaseURL+"/?token="+h.Token+"&next=/install/night-watch"), chromedp.WaitVisible(chromedp.CSS("h2")))
	heading(t, ctx, "Install Night Watch")
	do(t, ctx, "begin", click("button.first"))
	heading(t, ctx, "Welcome to Night Watch")
	shoot(t, ctx, "installer-welcome.png")
	text := ask(t, ctx, chromedp.Text(chromedp.CSS("main")))
	for _, part := range []string{"Watches your doors at night", "A short film", "The manual", "Connect your account", "Let us begin"} {
		if !strings.Contains(text, part) {
			t.Errorf("the page does not show %q:\n%s", part, text)
		}
	}
	// The way back from a third party.
	link := ask(t, ctx, chromedp.Evaluate[string](`document.querySelector('a[href*="login?back="]').href`))
	_, back, _ := strings.Cut(link, "login?back=")
	do(t, ctx, "come back", chromedp.Navigate(back+"?code=from-them"))
	heading(t, ctx, "Welcome to Night Watch")
	want(t, "what the app hears", at(t, app.next("oauth"), "data", "urlPath"), "/oauth/callback?code=from-them")

	do(t, ctx, "next", click("button.first"))
	heading(t, ctx, "What to watch, what to light")
	if n := ask(t, ctx, chromedp.Evaluate[int](`document.querySelectorAll('input[name=lamp]').length`)); n != 2 {
		t.Errorf("%d lamps can be chosen, want the two with both capabilities", n)
	}
	do(t, ctx, "next without a choice", click("button.first"), chromedp.WaitVisible(chromedp.CSS(".message")))
	text = ask(t, ctx, chromedp.Text(chromedp.CSS("#setting-doors")))
	if !strings.Contains(text, "This is needed.") {
		t.Errorf("nothing says beside the setting what is wrong: %s", text)
	}
	do(t, ctx, "choose", click(`input[value="`+door+`"]`), click(`input[value="`+window+`"]`), click(`input[name=lamp][value="`+light+`"]`),
		click(`input[name=modes][value="`+modes.Items[2].ID+`"]`), click(`input[value="`+scene.SceneID+`"]`), set("#input-from", "22:30"))
	shoot(t, ctx, "installer-devices.png")
	do(t, ctx, "next", click("button.first"))
	heading(t, ctx, "Details")
	do(t, ctx, "fill in what is wrong", set("#input-greeting", "H"), set("#input-secret", "123"), set("#input-level", "101"),
		set("#input-factor", "2.5"), set("#input-phone", "call me"), set("#input-mail", "nobody"), click("button.first"), chromedp.WaitVisible(chromedp.CSS(".message")))
	for setting, wrong := range map[string]string{"greeting": "at least 2", "secret": "at least 4", "level": "above the most, 100", "factor": "above the most, 2", "phone": "not a telephone", "mail": "not an e-mail", "colour": "needed"} {
		if text := ask(t, ctx, chromedp.Text(chromedp.CSS("#setting-"+setting))); !strings.Contains(text, wrong) {
			t.Errorf("beside %s stands %q, not %q", setting, text, wrong)
		}
	}
	shoot(t, ctx, "installer-wrong.png")
	do(t, ctx, "ask for the page anew", click(`input[name=loud]`), click(`button[value=update]`), chromedp.WaitVisible(chromedp.CSS("#setting-warning")))
	if text := ask(t, ctx, chromedp.Text(chromedp.CSS("main"))); !strings.Contains(text, "It will be loud") || !strings.Contains(text, "asked again") {
		t.Errorf("the page does not depend on what was chosen:\n%s", text)
	}
	do(t, ctx, "fill in", set("#input-greeting", "Good night"), set("#input-secret", "1234"), set("#input-level", "75"),
		set("#input-factor", "1.5"), set("#input-phone", "+49 30 123"), set("#input-mail", "a@b.example"),
		click(`input[name=colour][value=blue]`), click(`input[name=days][value=mon]`), click(`input[name=days][value=sun]`), click(`input[name=armed][value=ARMED_AWAY]`),
		click(`input[name=sound][value=bell]`), click(`input[name=message][value=open]`), click(`button[value="page:extra"]`))
	heading(t, ctx, "Extra")
	do(t, ctx, "a note", set("#input-note", "by the way"), click(`button[value=back]`))
	heading(t, ctx, "Details")
	if got := ask(t, ctx, chromedp.Evaluate[string](`document.querySelector('#input-greeting').value`)); got != "Good night" {
		t.Errorf("on the way back the greeting is %q", got)
	}
	do(t, ctx, "the code again, which no page shows", set("#input-secret", "1234"), click("button.first"))
	heading(t, ctx, "Install Night Watch in Home")
	shoot(t, ctx, "installer-ready.png")
	text = ask(t, ctx, chromedp.Text(chromedp.CSS("main ul")))
	for _, part := range []string{"Control Ceiling light", "See all your devices", "See your home"} {
		if !strings.Contains(text, part) {
			t.Errorf("what it may do does not name %q:\n%s", part, text)
		}
	}
	do(t, ctx, "install", set("#name", "My watch"), click("button.first"))
	heading(t, ctx, "Done")

	said := app.next("installed")
	text1 := func(value string) string { return `[{"stringConfig":{"value":"` + value + `"},"valueType":"STRING"}]` }
	device := func(id, verbs string) string {
		return `{"deviceConfig":{"componentId":"main","deviceId":"` + id + `","permissions":` + verbs + `},"valueType":"DEVICE"}`
	}
	expected := map[string]string{
		"doors": "[" + device(door, `["r"]`) + "," + device(window, `["r"]`) + "]", "lamp": "[" + device(light, `["r","x"]`) + "]",
		"modes": `[{"modeConfig":{"modeId":"` + modes.Items[2].ID + `"},"valueType":"MODE"}]`,
		"scene": `[{"sceneConfig":{"permissions":["x"],"sceneId":"` + scene.SceneID + `"},"valueType":"SCENE"}]`,
		"from":  text1("22:30"), "greeting": text1("Good night"), "secret": text1("1234"), "level": text1("75"), "factor": text1("1.5"), "loud": text1("true"), "phone": text1("+49 30 123"),
		"mail": text1("a@b.example"), "colour": text1("blue"), "armed": text1("ARMED_AWAY"), "sound": text1("bell"), "note": text1("by the way"),
		"days":    strings.TrimSuffix(text1("mon"), "]") + "," + strings.TrimPrefix(text1("sun"), "["),
		"message": `[{"messageConfig":{"messageGroupKey":"open"},"valueType":"MESSAGE"}]`,
	}
	config := said["config"].(map[string]any)
	for setting, wanted := range expected {
		got, _ := json.Marshal(config[setting])
		want(t, "the setting "+setting, string(got), wanted)
	}
	want(t, "the number of settings", len(config), len(expected))

	// Changing shows what is, and ends in UPDATE.
	var installed struct {
		Items []struct{ InstalledAppID, DisplayName string }
	}
	h.call("GET", "/installedapps", nil, &installed)
	want(t, "the name", installed.Items[0].DisplayName, "My watch")
	executed := struct{ ExecuteData map[string]any }{}
	h.call("POST", "/hark/v1/installedapps/"+installed.Items[0].InstalledAppID+"/execute", map[string]any{"parameters": map[string]string{"say": "cheese"}}, &executed)
	want(t, "what EXECUTE brings", at(t, app.next("execute"), "parameters", "say"), "cheese")
	want(t, "what EXECUTE answers", at(t, executed.ExecuteData, "heard", "say"), "cheese")
	do(t, ctx, "change", click("main a"), click(`button[value=configure]`))
	heading(t, ctx, "Welcome to Night Watch")
	do(t, ctx, "next", click("button.first"))
	heading(t, ctx, "What to watch, what to light")
	if n := ask(t, ctx, chromedp.Evaluate[int](`document.querySelectorAll('input[name=doors]:checked').length`)); n != 2 {
		t.Errorf("%d doors are shown as chosen, want two", n)
	}
	do(t, ctx, "another choice", click(`input[value="`+window+`"]`), click("button.first"))
	heading(t, ctx, "Details")
	do(t, ctx, "another code", set("#input-secret", "4321"), click("button.first"))
	heading(t, ctx, "Change Night Watch in Home")
	do(t, ctx, "save", click("button.first"))
	heading(t, ctx, "Done")
	said = app.next("updated")
	want(t, "the doors before", len(at(t, said, "previousConfig", "doors").([]any)), 2)
	want(t, "the doors now", len(at(t, said, "config", "doors").([]any)), 1)

	do(t, ctx, "remove", click("main a"), click(`button[value=remove]`))
	heading(t, ctx, "Removed")
	app.next("uninstalled")
	h.call("GET", "/installedapps", nil, &installed)
	want(t, "the number of installed apps", len(installed.Items), 0)
}

// TestAppsThatAnswerBadly walks into apps that do not answer CONFIGURATION as they must: the page
// says what is wrong, and nothing is installed.
func TestAppsThatAnswerBadly(t *testing.T) {
	t.Parallel()
	ctx := browser(t)
	h := start(t, "--listen", "127.0.0.1:0")
	do(t, ctx, "sign in", chromedp.Navigate(h.BaseURL+"/?token="+h.Token))
	for name, c := range map[string]struct {
		status       int
		answer, says string
	}{
		"refuses":  {http.StatusForbidden, "go away", "answered 403 Forbidden"},
		"breaks":   {http.StatusInternalServerError, "", "answered 500"},
		"babbles":  {http.StatusOK, "<html>", "not the JSON that is wanted"},
		"evades":   {http.StatusOK, `{"configurationData":{}}`, "configurationData.initialize, which is missing"},
		"no-page":  {http.StatusOK, `{"configurationData":{"initialize":{"firstPageId":"1"}}}`, "configurationData.page, which is missing"},
		"invents":  {http.StatusOK, `{"configurationData":{"initialize":{"firstPageId":"1"},"page":{"pageId":"1","sections":[{"settings":[{"id":"x","type":"SMELL"}]}]}}}`, "is of the type \"SMELL\""},
		"repeats":  {http.StatusOK, `{"configurationData":{"initialize":{},"page":{"pageId":"1","sections":[{"settings":[{"id":"x","type":"TEXT"},{"id":"x","type":"TEXT"}]}]}}}`, "as another of the page"},
		"is-gone":  {0, "", "cannot be reached"},
		"hangs":    {hangs, "", "did not answer within 10s"},
		"oversees": {http.StatusOK, `{"configurationData":{"initialize":{"permissions":["w:locations:*"]},"page":{"pageId":"1","name":"P","sections":[]}}}`, "exceeds what the app"},
	} {
		target := newAnswer(t, c.status, c.answer)
		h.call("POST", "/apps?requireConfirmation=true&signatureType=ST_PADLOCK", map[string]any{"appName": name, "displayName": name, "appType": "WEBHOOK_SMART_APP",
			"webhookSmartApp": map[string]any{"targetUrl": target}, "oauth": map[string]any{"scope": []string{"r:devices:*"}}}, nil)
		do(t, ctx, name, chromedp.Navigate(h.BaseURL+"/install/"+name), click("button.first"))
		if name == "oversees" {
			heading(t, ctx, "P")
			do(t, ctx, name, click("button.first"))
			heading(t, ctx, "Install oversees in Home")
			do(t, ctx, name, click("button.first"))
		}
		heading(t, ctx, "This cannot go on")
		if text := ask(t, ctx, chromedp.Text(chromedp.CSS("main"))); !strings.Contains(text, c.says) {
			t.Errorf("%s: the page does not say %q:\n%s", name, c.says, text)
		}
	}
	var installed struct{ Items []any }
	h.call("GET", "/installedapps", nil, &installed)
	want(t, "the number of installed apps", len(installed.Items), 0)
}

// TestAPIAccessInARealBrowser connects an API-access app on the official SDK: the person agrees
// in a browser, and the app redeems, subscribes, hears, refreshes and leaves by itself.
func TestAPIAccessInARealBrowser(t *testing.T) {
	t.Parallel()
	requireNode(t)
	ctx := browser(t)
	h := start(t, "--listen", "127.0.0.1:0")
	app := h.run("node/apiaccess.js")
	url, _ := app.next("listening")["url"].(string)
	var made struct{ OAuthClientID, OAuthClientSecret string }
	h.sdk(&made, "apps", "create", map[string]any{
		"appName": "switch-board", "displayName": "Switch board", "description": "Shows every switch of your home", "appType": "API_ONLY", "classifications": []string{"CONNECTED_SERVICE"},
		"apiOnly": map[string]any{"targetUrl": url + "/"},
		"oauth":   map[string]any{"clientName": "Switch board", "scope": []string{"r:devices:*", "x:devices:*", "r:locations:*"}, "redirectUris": []string{url + "/oauth/callback"}},
	})
	poke := func(path string) {
		t.Helper()
		if status, content, err := (&process.Hark{BaseURL: url}).Try("GET", path, nil); err != nil || status != http.StatusOK {
			t.Fatalf("%s: %d %s %v", path, status, content, err)
		}
	}
	poke("/client?id=" + made.OAuthClientID + "&secret=" + made.OAuthClientSecret)
	authorize := h.BaseURL + "/oauth/authorize?client_id=" + made.OAuthClientID + "&response_type=code&state=xyz&scope=r:devices:*+x:devices:*+r:locations:*&redirect_uri=" + url + "/oauth/callback"

	// A person who is not signed in signs in first, and comes back here.
	do(t, ctx, "go to authorize", chromedp.Navigate(authorize))
	heading(t, ctx, "Sign in")
	do(t, ctx, "sign in", chromedp.SendKeys(chromedp.CSS("#token"), h.Token), chromedp.Submit(chromedp.CSS("#token")))
	heading(t, ctx, "Switch board wants to be connected")
	shoot(t, ctx, "consent.png")
	do(t, ctx, "allow", click("button[value=allow]"))
	heading(t, ctx, "Connected")
	said := app.next("connected")
	want(t, "the location", said["location"], "Home")
	want(t, "the state", said["state"], "xyz")
	want(t, "the number of switches", said["switches"], 3)
	installed, _ := said["installedAppId"].(string)

	lamp := h.device("Floor lamp")
	h.sdk(nil, "devices", "executeCommand", lamp, map[string]any{"component": "main", "capability": "switch", "command": "on"})
	said = app.next("switchHandler")
	want(t, "the event", at(t, said, "event", "value"), "on")
	want(t, "the status that its own token reads", at(t, said, "status", "switch", "value"), "on")

	poke("/refresh?id=" + installed)
	said = app.next("refreshed")
	want(t, "the subscriptions after a refresh", said["subscriptions"], 1)
	want(t, "the access token is new", said["access"], true)
	want(t, "the refresh token is new", said["refresh"], true)

	poke("/leave?id=" + installed)
	want(t, "the app that is told", app.next("uninstalled")["installedAppId"], installed)
	app.next("forgotten")
}

// TestInstallerOnAPhoneByKeyboard installs an app on a narrow screen with the keyboard alone, and
// without scripts: hark's pages have none and allow none.
func TestInstallerOnAPhoneByKeyboard(t *testing.T) {
	t.Parallel()
	requireNode(t)
	ctx := browser(t)
	h := start(t, "--listen", "127.0.0.1:0")
	app := h.run("node/settings.js")
	h.sdk(nil, "apps", "create", map[string]any{
		"appName": "night-watch", "displayName": "Night Watch", "appType": "WEBHOOK_SMART_APP", "classifications": []string{"AUTOMATION"},
		"webhookSmartApp": map[string]any{"targetUrl": fmt.Sprintf("http://127.0.0.1:%v/", app.next("listening")["port"])},
		"oauth":           map[string]any{"clientName": "Night Watch", "scope": []string{"r:devices:*", "x:devices:*", "r:locations:*"}},
	})
	fits := func(title string) {
		t.Helper()
		heading(t, ctx, title)
		for what, expression := range map[string]string{
			"wider than the screen": `document.documentElement.scrollWidth > 360`, "with a script": `document.scripts.length > 0`,
			"without the colours of the dark": `!getComputedStyle(document.documentElement).colorScheme.includes('dark')`,
			"with a field without a name":     `[...document.querySelectorAll('input:not([type=hidden]), select')].some(f => !f.labels?.length && !f.ariaLabel)`,
		} {
			if ask(t, ctx, chromedp.Evaluate[bool](expression)) {
				t.Errorf("the page %q is %s", title, what)
			}
		}
	}
	// press goes on with the tabulator to what the expression wants, and presses a key there.
	press := func(wanted, key string) {
		t.Helper()
		for range 60 {
			if ask(t, ctx, chromedp.Evaluate[bool](`(f => `+wanted+`)(document.activeElement)`)) {
				do(t, ctx, "press a key", chromedp.KeyEvent(key))
				return
			}
			do(t, ctx, "go on", chromedp.KeyEvent(kb.Tab))
		}
		t.Fatalf("the keyboard does not reach %s", wanted)
	}
	write := func(id, text string) {
		t.Helper()
		press(`f.id === '`+id+`'`, text)
	}
	const first = `f.matches('button.first')`
	do(t, ctx, "open", chromedp.EmulateViewport(360, 740), chromedp.Navigate(h.BaseURL+"/?token="+h.Token+"&next=/install/night-watch"))
	fits("Install Night Watch")
	press(first, kb.Enter)
	fits("Welcome to Night Watch")
	press(first, kb.Enter)
	fits("What to watch, what to light")
	press(`f.name === 'doors'`, " ")
	press(`f.name === 'lamp'`, " ")
	press(first, kb.Enter)
	fits("Details")
	write("input-level", "50")
	press(`f.name === 'colour'`, " ")
	press(first, kb.Enter)
	fits("Install Night Watch in Home")
	press(first, kb.Enter)
	fits("Done")
	want(t, "the brightness", at(t, app.next("installed"), "config", "level", 0, "stringConfig", "value"), "50")
}
