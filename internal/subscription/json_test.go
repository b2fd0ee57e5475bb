package subscription

import (
	"encoding/json"
	"strings"
	"testing"

	"hark/internal/id"
	"hark/internal/problem"
)

const (
	d1 = "736e3903-001c-4d40-b408-ff40d162a06b"
	l1 = "499e28ba-b33b-49c9-a5a1-cce40e41f8a6"
	m1 = "6f5ea629-4c05-4a90-a244-cc129b0a80c3"
)

func someApp() *id.InstalledApp {
	app := id.New[id.InstalledApp]()
	return &app
}

// TestEchoes holds the answers to the requests of reference 1.3 against 1.4.
func TestEchoes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ request, echo string }{
		"every member": {
			`{"sourceType":"DEVICE","device":{"deviceId":"` + d1 + `","componentId":"main","capability":"switch","attribute":"switch","value":"on","stateChangeOnly":false,"subscriptionName":"lamp","modes":["` + m1 + `"]}}`,
			`"sourceType":"DEVICE","device":{"deviceId":"` + d1 + `","componentId":"main","capability":"switch","attribute":"switch","value":"on","stateChangeOnly":false,"subscriptionName":"lamp","modes":["` + m1 + `"]}`,
		},
		"defaults": {
			`{"sourceType":"DEVICE","device":{"deviceId":"` + d1 + `"}}`,
			`"sourceType":"DEVICE","device":{"deviceId":"` + d1 + `","componentId":"*","capability":"*","attribute":"*","value":"*","stateChangeOnly":true,"modes":[]}`,
		},
		"a name beside the source type, a flag as a string, unknown members, bare hex digits": {
			`{"sourceType":"DEVICE","x":1,"device":{"deviceId":"` + strings.ReplaceAll(d1, "-", "") + `","stateChangeOnly":"false","y":[]},"subscriptionName":"deviceHandler"}`,
			`"sourceType":"DEVICE","device":{"deviceId":"` + d1 + `","componentId":"*","capability":"*","attribute":"*","value":"*","stateChangeOnly":false,"subscriptionName":"deviceHandler","modes":[]}`,
		},
		"typed values": {
			`{"sourceType":"CAPABILITY","capability":{"locationId":"` + l1 + `","capability":"switchLevel","value":50.0}}`,
			`"sourceType":"CAPABILITY","capability":{"locationId":"` + l1 + `","capability":"switchLevel","attribute":"*","value":50,"stateChangeOnly":true,"modes":[]}`,
		},
		"mode": {
			`{"sourceType":"MODE","mode":{"locationId":"` + l1 + `","subscriptionName":"modeHandler"}}`,
			`"sourceType":"MODE","mode":{"locationId":"` + l1 + `","subscriptionName":"modeHandler"}`,
		},
		"lifecycles of some devices": {
			`{"sourceType":"DEVICE_LIFECYCLE","deviceLifecycle":{"deviceIds":["` + d1 + `"],"locationId":"` + l1 + `","subscriptionName":"lifecycleHandler"}}`,
			`"sourceType":"DEVICE_LIFECYCLE","deviceLifecycle":{"deviceIds":["` + d1 + `"],"subscriptionName":"lifecycleHandler","locationId":"` + l1 + `"}`,
		},
		"health of all devices": {
			`{"sourceType":"DEVICE_HEALTH","deviceHealth":{"locationId":"` + l1 + `","subscriptionName":"healthHandler"}}`,
			`"sourceType":"DEVICE_HEALTH","deviceHealth":{"deviceIds":[],"subscriptionName":"healthHandler","locationId":"` + l1 + `"}`,
		},
		"arm state": {
			`{"sourceType":"SECURITY_ARM_STATE","securityArmState":{"locationId":"` + l1 + `"}}`,
			`"sourceType":"SECURITY_ARM_STATE","securityArmState":{"locationId":"` + l1 + `"}`,
		},
		"hub health": {
			`{"sourceType":"HUB_HEALTH","hubHealth":{"locationId":"` + l1 + `","subscriptionName":"hubHandler"}}`,
			`"sourceType":"HUB_HEALTH","hubHealth":{"locationId":"` + l1 + `","subscriptionName":"hubHandler"}`,
		},
		"scenes": {
			`{"sourceType":"SCENE_LIFECYCLE","sceneLifecycle":{"locationId":"` + l1 + `","subscriptionName":"sceneHandler"}}`,
			`"sourceType":"SCENE_LIFECYCLE","sceneLifecycle":{"locationId":"` + l1 + `","subscriptionName":"sceneHandler"}`,
		},
	} {
		s, err := ParseRequest([]byte(c.request))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		s.ID, s.App = id.New[id.Subscription](), someApp()
		want := `{"id":"` + s.ID.String() + `","installedAppId":"` + s.App.String() + `",` + c.echo + `}`
		if got, _ := json.Marshal(s); string(got) != want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, got, want)
		}
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	device := func(more string) string {
		return `{"sourceType":"DEVICE","device":{"deviceId":"` + d1 + `"` + more + `}}`
	}
	for request, target := range map[string]string{
		`{}`:                          "sourceType",
		`{"sourceType":"TIMER"}`:      "sourceType",
		`{"sourceType":"OWN"}`:        "sourceType",
		`{"sourceType":"HUB_HEALTH"}`: "hubHealth",
		`{"sourceType":"SCENE_LIFECYCLE","sceneLifecycle":{}}`:                                                            "sceneLifecycle.locationId",
		`{"sourceType":"DEVICE_HEALTH","deviceHealth":{"deviceIds":["` + d1 + `","x"]}}`:                                  "deviceHealth.deviceIds[1]",
		`{"sourceType":"DEVICE_LIFECYCLE","deviceLifecycle":{"deviceIds":["` + strings.Repeat(d1+`","`, 20) + d1 + `"]}}`: "deviceLifecycle.deviceIds",
		`{"sourceType":"DEVICE"}`:                                                               "device",
		`{"sourceType":"DEVICE","device":{}}`:                                                   "device.deviceId",
		`{"sourceType":"DEVICE","device":{"deviceId":"x"}}`:                                     "device.deviceId",
		`{"sourceType":"CAPABILITY","capability":{"capability":"switch"}}`:                      "capability.locationId",
		`{"sourceType":"CAPABILITY","capability":{"locationId":"` + l1 + `"}}`:                  "capability.capability",
		`{"sourceType":"CAPABILITY","capability":{"locationId":"` + l1 + `","capability":"*"}}`: "capability.capability",
		device(`,"subscriptionName":"a b"`):                                                     "device.subscriptionName",
		device(`,"subscriptionName":"` + strings.Repeat("x", 37) + `"`):                         "device.subscriptionName",
		device(`,"componentId":"ä"`):                                                            "device.componentId",
		device(`,"attribute":"` + strings.Repeat("x", 257) + `"`):                               "device.attribute",
		device(`,"capability":"` + strings.Repeat("x", 129) + `"`):                              "device.capability",
		device(`,"value":"` + strings.Repeat("x", 257) + `"`):                                   "device.value",
		device(`,"stateChangeOnly":"maybe"`):                                                    "device.stateChangeOnly",
		device(`,"modes":["Home"]`):                                                             "device.modes[0]",
	} {
		_, err := ParseRequest([]byte(request))
		p, ok := err.(*problem.Error)
		if !ok || p.Target != target {
			t.Errorf("%.90s: %v, want a refusal of %s", request, err, target)
		}
	}
}

func TestRecordsComeBack(t *testing.T) {
	t.Parallel()
	s, err := ParseRequest([]byte(`{"sourceType":"DEVICE","device":{"deviceId":"` + d1 + `","value":{"b":1,"a":2},"modes":["` + m1 + `"],"subscriptionName":"n"}}`))
	if err != nil {
		t.Fatal(err)
	}
	s.ID, s.App, s.Location, s.From, s.Until = id.New[id.Subscription](), someApp(), id.New[id.Location](), 7, 9
	list, err := DecodeRecords(EncodeRecords([]*Subscription{s, s}))
	if err != nil || len(list) != 2 {
		t.Fatalf("%d came back of 2: %v", len(list), err)
	}
	back := list[1]
	back.Location = s.Location
	if back.Same() != s.Same() || back.ID != s.ID || back.From != 7 || back.Until != 9 || back.Name() != "n" {
		t.Errorf("came back as %+v, was %+v", back, s)
	}
}

func FuzzDecodeRecords(f *testing.F) {
	s, err := ParseRequest([]byte(`{"sourceType":"DEVICE","device":{"deviceId":"` + d1 + `","value":50.0,"modes":["` + m1 + `"],"subscriptionName":"n"}}`))
	if err != nil {
		f.Fatal(err)
	}
	s.ID, s.App, s.From = id.New[id.Subscription](), someApp(), 300
	f.Add(EncodeRecords([]*Subscription{s, s}))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := DecodeRecords(data)
		if err != nil {
			return
		}
		back, err := DecodeRecords(EncodeRecords(list))
		if err != nil || len(back) != len(list) {
			t.Fatalf("%s does not come back: %v", data, err)
		}
		for i, s := range list {
			if back[i].Same() != s.Same() {
				t.Errorf("%s does not come back", data)
			}
		}
	})
}

func FuzzParseRequest(f *testing.F) {
	f.Add([]byte(`{"sourceType":"DEVICE","device":{"deviceId":"` + d1 + `","value":[1,{"a":null}],"modes":["` + m1 + `"]}}`))
	f.Add([]byte(`{"sourceType":"CAPABILITY","capability":{"locationId":"` + l1 + `","capability":"switch","stateChangeOnly":"true"}}`))
	f.Add([]byte(`{"sourceType":"MODE","mode":{"locationId":"` + l1 + `"}}`))
	f.Add([]byte(`{"sourceType":"DEVICE_HEALTH","deviceHealth":{"deviceIds":["` + d1 + `"]}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		s, err := ParseRequest(body)
		if err != nil {
			return
		}
		echo, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseRequest(echo)
		if err != nil || again.Same() != s.Same() || again.Name() != s.Name() {
			t.Errorf("the echo %s does not parse to the same subscription: %v", echo, err)
		}
		s.ID, s.App = id.New[id.Subscription](), someApp()
		record := EncodeRecords([]*Subscription{s})
		back, err := DecodeRecords(record)
		if err != nil {
			t.Fatal(err)
		}
		if back[0].Location = s.Location; back[0].Same() != s.Same() {
			t.Errorf("the record %s does not come back", record)
		}
	})
}
