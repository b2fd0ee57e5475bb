package capability

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hark/internal/problem"
)

func TestStandardDefinitionsAreSound(t *testing.T) {
	t.Parallel()
	all := NewRegistry().All()
	if len(all) != 267 {
		t.Errorf("there are %d standard capabilities, want 267", len(all))
	}
	for _, c := range all {
		for name, a := range c.Attributes {
			if err := a.Schema.check(0); err != nil {
				t.Errorf("%s.%s: %v", c.ID, name, err)
			}
			if _, ok := a.Schema.Properties["value"]; !ok {
				t.Errorf("%s.%s describes no value", c.ID, name)
			}
			if _, ok := c.Commands[a.Setter]; a.Setter != "" && !ok {
				t.Errorf("%s.%s has the setter %s, which is no command", c.ID, name, a.Setter)
			}
		}
	}
}

func TestCanonicalValues(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]Value{
		` "on" `:               `"on"`,
		`50.0`:                 `50`,
		`5e1`:                  `50`,
		`-0.5`:                 `-0.5`,
		`9007199254740993`:     `9007199254740993`,
		`{"b":1.0, "a":[ 2 ]}`: `{"a":[2],"b":1}`,
		`"<&>"`:                `"<&>"`,
		`"\u00e9"`:             `"é"`,
		`true`:                 `true`,
		`null`:                 `null`,
	} {
		if got, err := ParseValue([]byte(raw)); err != nil || got != want {
			t.Errorf("ParseValue(%s) = %s, %v; want %s", raw, got, err, want)
		}
	}
	for _, raw := range []string{``, `on`, `1 2`, `{"a":}`, strings.Repeat("[", 40) + strings.Repeat("]", 40)} {
		if got, err := ParseValue([]byte(raw)); err == nil {
			t.Errorf("ParseValue(%s) = %s, want an error", raw, got)
		}
	}
}

func TestCheckValue(t *testing.T) {
	t.Parallel()
	r := NewRegistry()
	for _, c := range []struct{ capability, attribute, value, unit, fault string }{
		{"switch", "switch", `"on"`, "", ""},
		{"switch", "switch", `"maybe"`, "", `"maybe" is not one of "off", "on"`},
		{"switch", "switch", `1`, "", "is a number, the definition wants type string"},
		{"switch", "brightness", `1`, "", "has no attribute \"brightness\"; it has switch"},
		{"switch", "switch", `null`, "", "needs a value"},
		{"switchLevel", "level", `0`, "", ""},
		{"switchLevel", "level", `100`, "%", ""},
		{"switchLevel", "level", `101`, "", "above the maximum of 100"},
		{"switchLevel", "level", `-1`, "", "below the minimum of 0"},
		{"switchLevel", "level", `50.5`, "", "wants type integer"},
		{"switchLevel", "level", `"50"`, "", "is a string, the definition wants type integer"},
		{"temperatureMeasurement", "temperature", `21.5`, "C", ""},
		{"temperatureMeasurement", "temperature", `21.5`, "K", "another unit"},
		{"threeAxis", "threeAxis", `[1,2,-3]`, "", ""},
		{"threeAxis", "threeAxis", `[1,2,"x"]`, "", "[2]"},
	} {
		d, ok := r.Capability(c.capability)
		if !ok {
			t.Fatalf("no capability %s", c.capability)
		}
		err := d.CheckValue(c.attribute, Value(c.value), c.unit)
		if (err == nil) != (c.fault == "") || err != nil && !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%s.%s = %s %s: %v, want %q", c.capability, c.attribute, c.value, c.unit, err, c.fault)
		}
	}
}

func TestCheckCommand(t *testing.T) {
	t.Parallel()
	r := NewRegistry()
	for _, c := range []struct {
		capability, command string
		args                []Value
		target              string
	}{
		{"switch", "on", nil, ""},
		{"switch", "explode", nil, "command"},
		{"switch", "on", []Value{"1"}, "arguments[0]"},
		{"switchLevel", "setLevel", []Value{"50"}, ""},
		{"switchLevel", "setLevel", []Value{"50", "2"}, ""},
		{"switchLevel", "setLevel", nil, "arguments[0]"},
		{"switchLevel", "setLevel", []Value{"500"}, "arguments[0]"},
		{"switchLevel", "setLevel", []Value{"50", `"x"`}, "arguments[1]"},
		{"colorControl", "setColor", []Value{`{"hue":10,"saturation":20}`}, ""},
		{"colorControl", "setColor", []Value{`{"hue":"red"}`}, "arguments[0]"},
	} {
		d, _ := r.Capability(c.capability)
		target, err := d.CheckCommand(c.command, c.args)
		if target != c.target || (err != nil) != (c.target != "") {
			t.Errorf("%s.%s%v: %q, %v; want the target %q", c.capability, c.command, c.args, target, err, c.target)
		}
	}
}

func TestExecute(t *testing.T) {
	t.Parallel()
	r := NewRegistry()
	everything := func(string) bool { return true }
	volume := func(capability, attribute string) Value { return map[string]Value{"volume": "98"}[attribute] }
	for _, c := range []struct {
		capability, command string
		args                []Value
		want                []Change
	}{
		{"switch", "on", nil, []Change{{"switch", "switch", `"on"`, ""}}},
		{"lock", "unlock", nil, []Change{{"lock", "lock", `"unlocked"`, ""}}},
		{"switchLevel", "setLevel", []Value{"50"}, []Change{{"switchLevel", "level", "50", "%"}, {"switch", "switch", `"on"`, ""}}},
		{"switchLevel", "setLevel", []Value{"0"}, []Change{{"switchLevel", "level", "0", "%"}, {"switch", "switch", `"off"`, ""}}},
		{"colorControl", "setColor", []Value{`{"hue":10,"saturation":20}`}, []Change{{"colorControl", "hue", "10", ""}, {"colorControl", "saturation", "20", ""}}},
		{"thermostatMode", "heat", nil, []Change{{"thermostatMode", "thermostatMode", `"heat"`, ""}}},
		{"thermostatHeatingSetpoint", "setHeatingSetpoint", []Value{"21.5"}, []Change{{"thermostatHeatingSetpoint", "heatingSetpoint", "21.5", ""}}},
		{"audioVolume", "volumeUp", nil, []Change{{"audioVolume", "volume", "100", "%"}}},
		{"momentary", "push", nil, []Change{{"button", "button", `"pushed"`, ""}}},
		{"refresh", "refresh", nil, nil},
	} {
		d, _ := r.Capability(c.capability)
		if diff := cmp.Diff(c.want, d.Execute(c.command, c.args, volume, everything)); diff != "" {
			t.Errorf("%s.%s%v (-want +got):\n%s", c.capability, c.command, c.args, diff)
		}
	}
}

func TestCustomCapabilities(t *testing.T) {
	t.Parallel()
	definition := func(text string) *Capability {
		c := new(Capability)
		if err := json.Unmarshal([]byte(text), c); err != nil {
			t.Fatal(err)
		}
		return c
	}
	good := definition(`{"id":"acme.waterLevel","version":1,"attributes":{"level":{"schema":{"type":"object","properties":{"value":{"type":"integer","maximum":9}}},"setter":"setLevel"}},
		"commands":{"setLevel":{"arguments":[{"name":"level","schema":{"type":"integer"}}]}}}`)
	if err := CheckCustom(good); err != nil {
		t.Fatal(err)
	}
	r := NewRegistry()
	r.Put(good)
	if d, ok := r.Capability("acme.waterLevel"); !ok || d.CheckValue("level", "10", "") == nil || d.CheckValue("level", "9", "") != nil {
		t.Error("the added capability does not check its values")
	}
	for _, text := range []string{
		`{"id":"waterLevel","version":1}`,
		`{"id":"acme.x","version":0}`,
		`{"id":"acme.x","version":1,"attributes":{"a b":{}}}`,
		`{"id":"acme.x","version":1,"attributes":{"a":{"schema":{"type":"object"}}}}`,
		`{"id":"acme.x","version":1,"attributes":{"a":{"schema":{"properties":{"value":{"type":"text"}}}}}}`,
		`{"id":"acme.x","version":1,"attributes":{"a":{"schema":{"properties":{"value":{"pattern":"("}}}}}}`,
		`{"id":"acme.x","version":1,"attributes":{"a":{"schema":{"properties":{"value":{}}},"setter":"set"}}}`,
	} {
		if err := CheckCustom(definition(text)); problem.KindOf(err) != problem.Constraint {
			t.Errorf("%s: %v, want a refusal", text, err)
		}
	}
}

func FuzzParseValue(f *testing.F) {
	for _, s := range []string{`"on"`, `50.0`, `{"b":1,"a":[1e2,null,true]}`, `"\ud800"`} {
		f.Add([]byte(s))
	}
	for _, s := range []string{`"a b"`, `"a\"b"`, `"\u0061"`, `"`, `""`, `0`, `01`, `7`, `123456789012345`, `1234567890123456`, `true`, `false`, `null`, `tru`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		v, err := ParseValue(raw)
		if slow, e := parse(raw); slow != v || (err == nil) != (e == nil) {
			t.Errorf("%q is %q at a glance, and really %q, %v", raw, v, slow, e)
		}
		if err != nil {
			return
		}
		if again, err := ParseValue([]byte(v)); err != nil || again != v {
			t.Errorf("%q is %q, which is %q, %v: not canonical", raw, v, again, err)
		}
		r := NewRegistry()
		for _, name := range []string{"switch", "switchLevel", "threeAxis", "colorControl"} {
			d, _ := r.Capability(name)
			for a := range d.Attributes {
				d.CheckValue(a, v, "")
			}
		}
	})
}

func FuzzCustomCapability(f *testing.F) {
	f.Add([]byte(`{"id":"acme.level","version":1,"attributes":{"level":{"schema":{"properties":{"value":{"type":"array","items":{"type":"integer","maximum":9},"maxItems":2}}},"setter":"set"}},"commands":{"set":{"arguments":[{"name":"l"}]}}}`), []byte(`[1,2]`))
	f.Fuzz(func(t *testing.T, definition, value []byte) {
		c := new(Capability)
		v, err := ParseValue(value)
		if err != nil || json.Unmarshal(definition, c) != nil || CheckCustom(c) != nil {
			return
		}
		for name := range c.Attributes {
			c.CheckValue(name, v, "")
		}
		for name := range c.Commands {
			if _, err := c.CheckCommand(name, []Value{v}); err == nil {
				c.Execute(name, []Value{v}, func(string, string) Value { return v }, func(string) bool { return true })
			}
		}
	})
}
