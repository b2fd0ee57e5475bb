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
	e := lamp()
	back, err := Decode(e.Encode())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(e, back); diff != "" {
		t.Errorf("(-was +is):\n%s", diff)
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
		if _, err := json.Marshal(e.Webhook("name")); err != nil {
			t.Error(err)
		}
	})
}
