package event

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hark/internal/id"
)

func lamp() *Event {
	return &Event{
		ID: id.Event{1}, Type: DeviceEvent, Time: time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC), Location: id.Location{2}, Mode: id.Mode{3},
		Device: &Report{Device: id.Device{4}, Component: "main", Capability: "switch", Attribute: "switch", Value: `"off"`, StateChange: true},
	}
}

// TestWebhookShape holds the entry of a webhook's events against reference 3.4.
func TestWebhookShape(t *testing.T) {
	t.Parallel()
	got, err := json.Marshal(lamp().Webhook("switchHandler"))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"eventTime":"2026-01-02T03:04:05Z","eventType":"DEVICE_EVENT","deviceEvent":{"eventId":"01000000-0000-0000-0000-000000000000",` +
		`"locationId":"02000000-0000-0000-0000-000000000000","ownerId":"02000000-0000-0000-0000-000000000000","ownerType":"LOCATION",` +
		`"deviceId":"04000000-0000-0000-0000-000000000000","componentId":"main","capability":"switch","attribute":"switch","value":"off",` +
		`"valueType":"string","stateChange":true,"data":{},"subscriptionName":"switchHandler"}}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	mode := &Event{ID: id.Event{1}, Type: ModeEvent, Time: lamp().Time, Location: id.Location{2}, Mode: id.Mode{3}}
	got, _ = json.Marshal(mode.Webhook("ignored"))
	want = `{"eventTime":"2026-01-02T03:04:05Z","eventType":"MODE_EVENT","modeEvent":{"eventId":"01000000-0000-0000-0000-000000000000",` +
		`"locationId":"02000000-0000-0000-0000-000000000000","modeId":"03000000-0000-0000-0000-000000000000"}}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestEncodeDecode(t *testing.T) {
	t.Parallel()
	full := lamp()
	full.InstalledApp, full.Trace, full.Time = id.InstalledApp{5}, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", time.Date(1969, 12, 31, 23, 59, 59, 1, time.UTC)
	full.Device.Value, full.Device.Unit, full.Device.Data, full.Device.CommandID, full.Device.StateChange = `{"a":["é"]}`, "°C", `{"by":"hand"}`, "c-1", false
	mode := &Event{ID: id.Event{1}, Type: ModeEvent, Time: full.Time, Location: id.Location{2}, Mode: id.Mode{3}}
	for _, e := range []*Event{lamp(), full, mode} {
		b := e.Encode()
		back, err := Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(e, back); diff != "" {
			t.Errorf("(-was +is):\n%s", diff)
		}
		for n := range b {
			if _, err := Decode(b[:n]); err == nil {
				t.Errorf("%d of %d bytes decode", n, len(b))
			}
		}
		if _, err := Decode(append(b, 0)); err == nil {
			t.Error("a byte too many is not noticed")
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	data := lamp().Encode()
	for b.Loop() {
		if _, err := Decode(data); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(data)), "B/event")
}

func BenchmarkEncode(b *testing.B) {
	e := lamp()
	for b.Loop() {
		e.Encode()
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(lamp().Encode())
	f.Add([]byte(`{"id":"736e3903-001c-4d40-b408-ff40d162a06b","type":"MODE_EVENT","location":"736e3903-001c-4d40-b408-ff40d162a06b"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := Decode(data)
		if err != nil {
			return
		}
		again, err := Decode(e.Encode())
		if err != nil {
			t.Fatalf("%s does not decode again: %v", e.Encode(), err)
		}
		if diff := cmp.Diff(e, again); diff != "" {
			t.Errorf("(-was +is):\n%s", diff)
		}
		if b := e.AppendWebhook(nil, "name"); !json.Valid(b) {
			t.Errorf("it goes out as %s", b)
		}
		if _, err := json.Marshal(e.Stream("name")); err != nil {
			t.Error(err)
		}
	})
}
