package httpapi

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"hark/internal/apps"
	"hark/internal/home"
	"hark/internal/problem"
)

func FuzzBulk(f *testing.F) {
	f.Add([]byte(`{"deviceId":"736e3903-001c-4d40-b408-ff40d162a06b","capability":"switch","attribute":"switch","value":"on","timestamp":"2026-01-02T03:04:05Z"}`))
	f.Add([]byte("{\"value\":1}\n\n{\"value\":\n[1]\n"))
	f.Add([]byte(`[{"value":1},{"value":{"a":[null]}}]`))
	f.Fuzz(func(t *testing.T, body []byte) {
		texts, numbers := splitEvents(body)
		if len(texts) != len(numbers) || len(texts) > bytes.Count(body, []byte("\n"))+bytes.Count(body, []byte(","))+1 {
			t.Fatalf("%d texts with %d numbers of %q", len(texts), len(numbers), body)
		}
		for i, text := range texts {
			if i > 0 && numbers[i] <= numbers[i-1] {
				t.Fatalf("the numbers are %v", numbers)
			}
			var e eventBody
			if decode(text, &e) != nil {
				continue
			}
			if r := e.report(); r.Value != "" && !json.Valid([]byte(r.Value)) {
				t.Errorf("the value %q is no JSON", r.Value)
			}
		}
	})
}

func FuzzApp(f *testing.F) {
	f.Add([]byte(`{"appName":"a","appType":"WEBHOOK_SMART_APP","webhookSmartApp":{"targetUrl":"http://a.example/"},"oauth":{"scope":["r:devices:*"],"redirectUris":["http://a.example/cb"]}}`))
	f.Add([]byte(`{"appName":"a","appType":"API_ONLY","apiOnly":{"subscription":{"targetUrl":"x"}},"classifications":null,"settings":{}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var b appBody
		if decode(body, &b) != nil {
			return
		}
		a := &apps.App{SignatureType: apps.STPadlock}
		if b.apply(a) != nil || a.Check() != nil {
			return
		}
		if a.TargetURL != "" && apps.CheckTarget("targetUrl", a.TargetURL) != nil {
			t.Errorf("the target %q passed", a.TargetURL)
		}
		if _, err := json.Marshal(a); err != nil {
			t.Error(err)
		}
	})
}

func FuzzCommandsAndLocations(f *testing.F) {
	f.Add([]byte(`{"commands":[{"component":"main","capability":"switchLevel","command":"setLevel","arguments":[50,null]}]}`))
	f.Add([]byte(`{"name":"Home","latitude":1e3,"temperatureScale":"C"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var commands struct {
			Commands []commandBody `json:"commands"`
		}
		if decode(body, &commands) == nil {
			for _, c := range commands.Commands {
				for _, a := range c.Arguments {
					if a != "" && !json.Valid([]byte(a)) {
						t.Errorf("the argument %q is no JSON", a)
					}
				}
			}
		}
		var b locationBody
		if decode(body, &b) == nil {
			var l home.Location
			b.apply(&l)
			if _, err := json.Marshal(viewLocation(&l)); err != nil {
				t.Error(err)
			}
		}
	})
}

// FuzzLastEventID holds that a position comes back as it went out, and that anything else is
// refused or nothing.
func FuzzLastEventID(f *testing.F) {
	for _, s := range []string{"", "0", " 7 ", "18446744073709551615", "18446744073709551616", "-1", "1e3", "0x10", "７"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		after, resume, err := parseLastEventID(header)
		if err != nil {
			if problem.KindOf(err) != problem.Invalid || resume || strings.TrimSpace(header) == "" {
				t.Errorf("%q: %v", header, err)
			}
			return
		}
		if resume != (strings.TrimSpace(header) != "") || !resume && after != 0 {
			t.Errorf("%q is position %d, going on: %v", header, after, resume)
		}
		if again, _, err := parseLastEventID(strconv.FormatUint(after, 10)); err != nil || again != after {
			t.Errorf("%d does not come back: %d, %v", after, again, err)
		}
	})
}
