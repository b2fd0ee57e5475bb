package configuration

import (
	"encoding/json"
	"strings"
	"testing"

	"hark/internal/apps"
	"hark/internal/home"
	"hark/internal/id"
)

// page returns a page with the settings, given as JSON.
func page(t *testing.T, settings ...string) *Page {
	t.Helper()
	p, err := ParsePage([]byte(`{"configurationData":{"page":{"pageId":"1","name":"P","sections":[{"settings":[` + strings.Join(settings, ",") + `]}]}}}`))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestFill holds each type of setting of reference 4.4: what it becomes, and what is refused.
func TestFill(t *testing.T) {
	t.Parallel()
	lamp := &home.Device{ID: id.New[id.Device](), Label: "Lamp", Components: []home.Component{{ID: "main"}, {ID: "left", Capabilities: []home.CapabilityRef{{ID: "switch"}}}}}
	mode, scene := id.New[id.Mode](), id.New[id.Scene]()
	h := &Home{Devices: []*home.Device{lamp}, Modes: []home.Mode{{ID: mode, Label: "Home"}}, Scenes: []*home.Scene{{ID: scene, Name: "Movie"}}}
	text := func(v string) string { return `[{"valueType":"STRING","stringConfig":{"value":"` + v + `"}}]` }
	for _, c := range []struct{ setting, given, want, wrong string }{
		{`"type":"DEVICE","capabilities":["switch"],"permissions":["r","x","y"]`, lamp.ID.String(), `[{"valueType":"DEVICE","deviceConfig":{"deviceId":"` + lamp.ID.String() + `","componentId":"left","permissions":["r","x"]}}]`, ""},
		{`"type":"DEVICE"`, lamp.ID.String(), `[{"valueType":"DEVICE","deviceConfig":{"deviceId":"` + lamp.ID.String() + `","componentId":"main","permissions":["r"]}}]`, ""},
		{`"type":"DEVICE","capabilities":["lock"]`, lamp.ID.String(), "", "cannot be chosen"},
		{`"type":"DEVICE","excludeCapabilities":["switch"]`, lamp.ID.String(), "", "cannot be chosen"},
		{`"type":"MODE"`, mode.String(), `[{"valueType":"MODE","modeConfig":{"modeId":"` + mode.String() + `"}}]`, ""},
		{`"type":"MODE"`, scene.String(), "", "not there any more"},
		{`"type":"SCENE"`, scene.String(), `[{"valueType":"SCENE","sceneConfig":{"sceneId":"` + scene.String() + `","permissions":["x"]}}]`, ""},
		{`"type":"SCENE"`, "x", "", "not there any more"},
		{`"type":"ENUM","options":[{"id":"a","name":"A"}]`, "a", text("a"), ""},
		{`"type":"ENUM","options":[{"id":"a","name":"A"}]`, "b", "", "none of the choices"},
		{`"type":"SOUND","groupedOptions":[{"name":"G","options":[{"id":"a"}]}]`, "a", text("a"), ""},
		{`"type":"MESSAGE","options":[{"id":"a"}]`, "a", `[{"valueType":"MESSAGE","messageConfig":{"messageGroupKey":"a"}}]`, ""},
		{`"type":"BOOLEAN"`, "true", text("true"), ""},
		{`"type":"BOOLEAN"`, "", text("false"), ""},
		{`"type":"NUMBER","min":1,"max":"10"`, "10", text("10"), ""},
		{`"type":"NUMBER","max":10`, "11", "", "above the most, 10"},
		{`"type":"NUMBER","min":-1`, "-2", "", "below the least, -1"},
		{`"type":"NUMBER"`, "1.5", "", "not a whole number"},
		{`"type":"NUMBER"`, "ten", "", "not a number"},
		{`"type":"DECIMAL"`, "1.5", text("1.5"), ""},
		{`"type":"TEXT","maxLength":3`, "äöü", text("äöü"), ""},
		{`"type":"TEXT","maxLength":3`, "four", "", "at most 3"},
		{`"type":"TEXT"`, strings.Repeat("x", 2049), "", "longer than 2048"},
		{`"type":"PASSWORD","minLength":4`, "123", "", "at least 4"},
		{`"type":"TIME"`, "07:05", text("07:05"), ""},
		{`"type":"TIME"`, "24:00", "", "not a time"},
		{`"type":"TIME","min":"08:00"`, "07:59", "", "before 08:00"},
		{`"type":"TIME","max":"08:00"`, "08:01", "", "after 08:00"},
		{`"type":"PHONE"`, "+1 (555) 010-99", text("+1 (555) 010-99"), ""},
		{`"type":"PHONE"`, "home", "", "not a telephone"},
		{`"type":"EMAIL"`, "a@b.example", text("a@b.example"), ""},
		{`"type":"EMAIL"`, "A <a@b.example>", "", "not an e-mail"},
		{`"type":"TEXT","required":true`, " ", "", "needed"},
		{`"type":"TEXT"`, "", "null", ""},
		{`"type":"TEXT","disabled":true`, "changed", text("before"), ""},
	} {
		p := page(t, `{"id":"s","name":"S",`+c.setting+`}`)
		filled, wrong := p.Fill(apps.Config{"s": {{ValueType: "STRING", String: &apps.StringConfig{Value: "before"}}}}, map[string][]string{"s": {c.given}}, h)
		if !strings.Contains(wrong["s"], c.wrong) || (wrong["s"] == "") != (c.wrong == "") {
			t.Errorf("%s given %.40q: %q, want %q", c.setting, c.given, wrong["s"], c.wrong)
		}
		if got, _ := json.Marshal(filled["s"]); c.wrong == "" && string(got) != c.want {
			t.Errorf("%s given %.40q becomes %s, want %s", c.setting, c.given, got, c.want)
		}
	}
	p := page(t, `{"id":"one","type":"ENUM","options":[{"id":"a"},{"id":"b"}]}`, `{"id":"many","type":"ENUM","multiple":true,"options":[{"id":"a"},{"id":"b"}]}`)
	filled, wrong := p.Fill(nil, map[string][]string{"one": {"a", "b"}, "many": {"a", "b", "a"}, "else": {"x"}}, h)
	if wrong["one"] == "" || len(filled["many"]) != 2 || filled["else"] != nil {
		t.Errorf("several values: %v, %v", filled, wrong)
	}
}

// TestDefaultsAndChoices holds what a person sees first.
func TestDefaultsAndChoices(t *testing.T) {
	t.Parallel()
	p := page(t, `{"id":"t","type":"TEXT","defaultValue":"Hi"}`, `{"id":"n","type":"NUMBER","defaultValue":5}`, `{"id":"b","type":"BOOLEAN","defaultValue":true}`,
		`{"id":"e","type":"ENUM","defaultValue":"b","options":[{"id":"a"},{"id":"b"}]}`, `{"id":"d","type":"DEVICE","preselect":true}`, `{"id":"x","type":"TEXT","defaultValue":null}`)
	h := &Home{Devices: []*home.Device{{ID: id.New[id.Device]()}, {ID: id.New[id.Device]()}}}
	want := map[string]string{"t": "Hi", "n": "5", "b": "true", "e": "b", "d": "", "x": ""}
	for _, s := range p.Settings() {
		if got := strings.Join(s.Values(nil), ","); got != want[s.ID] {
			t.Errorf("the default of %s is %q, want %q", s.ID, got, want[s.ID])
		}
		choices := s.Choices(h, nil)
		switch s.ID {
		case "e":
			if choices[0].Chosen || !choices[1].Chosen {
				t.Errorf("the chosen default: %v", choices)
			}
		case "d":
			if !choices[0].Chosen || choices[1].Chosen {
				t.Errorf("the preselected device: %v", choices)
			}
			if s.Choices(h, apps.Config{"d": nil})[0].Chosen {
				t.Error("what was taken away is preselected again")
			}
		}
	}
}

func FuzzParsePage(f *testing.F) {
	f.Add([]byte(`{"configurationData":{"page":{"pageId":"1","sections":[{"settings":[{"id":"s","type":"number","min":1,"defaultValue":{"a":1}}]}]}}}`))
	f.Add([]byte(`{"configurationData":{"initialize":{"firstPageId":"1","permissions":["r:devices:*"]}}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		ParseInitialize(body)
		p, err := ParsePage(body)
		if err != nil {
			return
		}
		h := &Home{}
		for _, s := range p.Settings() {
			s.Choices(h, nil)
		}
		config, wrong := p.Fill(nil, map[string][]string{"s": {"1"}}, h)
		if err := config.Check(); err != nil {
			t.Errorf("%s fills to what is no configuration: %v (%v)", body, err, wrong)
		}
	})
}
