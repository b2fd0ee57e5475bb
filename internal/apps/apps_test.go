package apps

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"hark/internal/id"
	"hark/internal/problem"
	"hark/internal/scope"
)

func app(change func(*App)) *App {
	a := &App{Name: "my-app", Type: WebhookSmartApp, TargetURL: "https://app.example/hook", SignatureType: STPadlock}
	change(a)
	return a
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for target, change := range map[string]func(*App){
		"":                              func(*App) {},
		"appName":                       func(a *App) { a.Name = "My App" },
		"appType":                       func(a *App) { a.Type = LambdaSmartApp },
		"displayName":                   func(a *App) { a.DisplayName = strings.Repeat("x", 76) },
		"description":                   func(a *App) { a.Description = strings.Repeat("x", 251) },
		"classifications":               func(a *App) { a.Classifications = []string{"TOY"} },
		"webhookSmartApp.targetUrl":     func(a *App) { a.TargetURL = "" },
		"webhookSmartApp.signatureType": func(a *App) { a.SignatureType = "HMAC" },
		"targetUrl":                     func(a *App) { a.TargetURL = "ftp://app.example" },
		"redirectUris":                  func(a *App) { a.OAuth.RedirectURIs = []string{"/finish"} },
	} {
		err := app(change).Check()
		if target == "" {
			if err != nil {
				t.Errorf("a good app: %v", err)
			}
			continue
		}
		if p, ok := err.(*problem.Error); !ok || p.Target != target {
			t.Errorf("%v, want a refusal of %s", err, target)
		}
	}
	for _, target := range []string{"app.example", "http://", "http://user@app.example/", "http://app.example/#x", "http://app.example/" + strings.Repeat("x", 2048)} {
		if CheckTarget("url", target) == nil {
			t.Errorf("the target %.60s is accepted", target)
		}
	}
}

func TestPermissionsFollowFromScopesAndConfiguration(t *testing.T) {
	t.Parallel()
	d, e := id.New[id.Device](), id.New[id.Device]()
	config := Config{"door": {{ValueType: "DEVICE", Device: &DeviceConfig{DeviceID: d}}}, "lamp": {{ValueType: "DEVICE", Device: &DeviceConfig{DeviceID: e, Permissions: []string{"r", "x"}}}}}
	if err := config.Check(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ registered, want scope.Set }{
		{nil, scope.Set{scope.Device("r", d), scope.Device("r", e), scope.Device("x", e)}},
		{scope.Set{"r:devices:*", "r:locations:*"}, scope.Set{"r:devices:*", "r:locations:*", scope.Device("r", e), scope.Device("x", e)}},
		{scope.Set{"r:devices:$"}, scope.Set{scope.Device("r", d), scope.Device("r", e), scope.Device("x", e)}},
		{scope.Set{"x:devices:$"}, scope.Set{scope.Device("r", d), scope.Device("r", e), scope.Device("x", d), scope.Device("x", e)}},
	} {
		got := Permissions(c.registered, config)
		slices.Sort(c.want)
		if !slices.Equal(got, c.want) {
			t.Errorf("from %v follow %v, want %v", c.registered, got, c.want)
		}
	}
	granted := app(func(a *App) { a.OAuth.Scope = scope.Set{"r:devices:$", "r:locations:*"} })
	for s, ok := range map[scope.Scope]bool{scope.Device("r", d): true, "r:locations:*": true, "r:devices:*": false, "r:devices:$": false, "x:devices:*": false} {
		if err := CheckPermissions(granted, scope.Set{s}); (err == nil) != ok {
			t.Errorf("granting %s: %v", s, err)
		}
	}
}

func TestConfigCheck(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		`{"a":[{"valueType":"DEVICE"}]}`,
		`{"a":[{"valueType":"DEVICE","deviceConfig":{}}]}`,
		`{"a":[{"valueType":"DEVICE","deviceConfig":{"deviceId":"736e3903-001c-4d40-b408-ff40d162a06b","permissions":["q"]}}]}`,
		`{"a":[{"valueType":"COLOR"}]}`,
		`{"a":[{"valueType":"STRING","modeConfig":{}}]}`,
	} {
		var c Config
		if err := json.Unmarshal([]byte(text), &c); err != nil {
			t.Fatal(err)
		}
		if err := c.Check(); problem.KindOf(err) != problem.Constraint {
			t.Errorf("%s: %v, want a refusal", text, err)
		}
	}
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte(`{"a":[{"valueType":"DEVICE","deviceConfig":{"deviceId":"736e3903-001c-4d40-b408-ff40d162a06b"}}],"b":[{"valueType":"STRING","stringConfig":{"value":"5"}}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var c Config
		if json.Unmarshal(text, &c) != nil || c.Check() != nil {
			return
		}
		for _, d := range c.Devices() {
			if d.DeviceID.IsZero() || d.ComponentID == "" {
				t.Errorf("a checked device entry lacks its id or component: %+v", d)
			}
		}
		Permissions(scope.Set{"r:devices:$"}, c)
	})
}
