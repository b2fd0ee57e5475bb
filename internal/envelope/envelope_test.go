package envelope

import (
	"encoding/json"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hark/internal/apps"
	"hark/internal/id"
)

// TestEvents holds the bodies that carry events against those that encoding/json makes.
func TestEvents(t *testing.T) {
	t.Parallel()
	in := &apps.Installed{ID: id.New[id.InstalledApp](), Location: id.New[id.Location](), Config: apps.Config{
		"events": {}, // looks like the place where events go
		"lamp":   {{ValueType: "STRING", String: &apps.StringConfig{Value: `"events":[]`}}},
	}}
	for _, app := range []*apps.App{
		{ID: id.New[id.App](), Type: apps.APIOnly},
		{ID: id.New[id.App](), Type: apps.WebhookSmartApp, Settings: map[string]string{"events": `"events":[]`}},
	} {
		for count := range 4 {
			token := ""
			if app.SmartApp() {
				token = "secret"
			}
			body := Events(app, in, token, count, func(b []byte, i int) []byte { return strconv.AppendInt(b, int64(i), 10) })
			var got, want map[string]any
			if err := json.Unmarshal(body, &got); err != nil {
				t.Fatalf("%v in %s", err, body)
			}
			if err := json.Unmarshal(Encode(app, Event, Call{EventData: &EventData{AuthToken: token, InstalledApp: Describe(app, in), Events: []struct{}{}}}), &want); err != nil {
				t.Fatal(err)
			}
			events := []any{}
			for i := range count {
				events = append(events, float64(i))
			}
			want["eventData"].(map[string]any)["events"] = events
			delete(got, "executionId") // a new one in each
			delete(want, "executionId")
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s with %d events (-want +got):\n%s", app.Type, count, diff)
			}
		}
	}
}
