package attempts

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/s2"
	"pgregory.net/rapid"

	"hark/internal/engine"
	"hark/internal/id"
)

// TestEntries packs attempts of every kind, and reads them back as they were.
func TestEntries(t *testing.T) {
	t.Parallel()
	text := rapid.OneOf(rapid.Just(""), rapid.StringMatching(`[a-zA-Z0-9:/ ]+`), rapid.String())
	apps := []id.InstalledApp{id.New[id.InstalledApp](), {}}
	ms := rapid.Map(rapid.IntRange(0, 60_000_000), func(us int) float64 { return float64(us) / 1000 })
	rapid.Check(t, func(t *rapid.T) {
		var want []*Attempt
		for range rapid.IntRange(1, 30).Draw(t, "attempts") {
			a := &Attempt{
				MessageID: text.Draw(t, "message"), Time: time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "time"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns")).UTC(),
				InstalledApp: rapid.SampledFrom(apps).Draw(t, "app"), App: text.Draw(t, "name"), Request: text.Draw(t, "request"), Status: rapid.IntRange(0, 599).Draw(t, "status"),
				Outcome: rapid.SampledFrom(Outcomes).Draw(t, "outcome"), Message: text.Draw(t, "why"), Response: text.Draw(t, "response"), Replay: text.Draw(t, "replay"), Events: []Event{},
			}
			if rapid.Bool().Draw(t, "called") {
				a.Latency = &Latency{ms.Draw(t, "dns"), ms.Draw(t, "connect"), ms.Draw(t, "tls"), ms.Draw(t, "first"), ms.Draw(t, "total")}
			}
			for range rapid.IntRange(0, 3).Draw(t, "events") {
				e := Event{ID: id.New[id.Event](), Position: rapid.Uint64().Draw(t, "position"), Subscription: id.New[id.Subscription](), Name: text.Draw(t, "subscription")}
				if rapid.Bool().Draw(t, "device") {
					e.Device = id.New[id.Device]()
				}
				if rapid.Bool().Draw(t, "unasked") {
					e.Subscription = id.Subscription{}
				}
				a.Events = append(a.Events, e)
			}
			want = append(want, a)
		}
		got := map[id.InstalledApp][]*Attempt{}
		for _, e := range pack(want) {
			list, err := unpack(engine.Message{Data: e.Data})
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range list {
				if a.ID = 0; a.InstalledApp.String() != e.Key {
					t.Errorf("an attempt of %s is in an entry of %s", a.InstalledApp, e.Key)
				}
			}
			got[list[0].InstalledApp] = append(got[list[0].InstalledApp], list...)
		}
		for _, a := range want {
			// Through JSON, which replaces what is not UTF-8.
			b, err := json.Marshal(a)
			if err != nil {
				t.Fatal(err)
			}
			var plain Attempt
			if err := json.Unmarshal(b, &plain); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&plain, got[a.InstalledApp][0]); diff != "" {
				t.Fatalf("(-want +got):\n%s", diff)
			}
			got[a.InstalledApp] = got[a.InstalledApp][1:]
		}
	})
}

func FuzzUnpack(f *testing.F) {
	f.Add(pack([]*Attempt{{Time: time.Unix(1e9, 0).UTC(), InstalledApp: id.InstalledApp{1}, Outcome: Delivered}})[0].Data)
	f.Add(s2.Encode(nil, []byte(`[{"events":[{}]},null]`)))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := unpack(engine.Message{Data: data})
		if err != nil {
			return
		}
		for _, a := range list {
			if !json.Valid(a.append(nil)) {
				t.Errorf("%+v is written as %s", a, a.append(nil))
			}
		}
	})
}

func thousand() (batch []*Attempt) {
	for i := range maxBatch {
		batch = append(batch, &Attempt{
			MessageID: "msg_0123456789abcdefghijklmn", Time: time.Now().UTC(), InstalledApp: id.InstalledApp{byte(i % 8)}, App: "bench", Request: "POST http://127.0.0.1:9000/", Status: 200,
			Outcome: Delivered, Latency: &Latency{FirstByte: 0.123, Total: 0.234}, Events: []Event{{ID: id.New[id.Event](), Position: uint64(i), Subscription: id.Subscription{2}, Name: "power", Device: id.Device{3}}},
		})
	}
	return batch
}

func BenchmarkPack(b *testing.B) {
	bytes, batch := 0, thousand()
	for b.Loop() {
		bytes = 0
		for _, e := range pack(batch) {
			bytes += len(e.Data)
		}
	}
	b.ReportMetric(float64(bytes)/maxBatch, "B/attempt")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/maxBatch, "ns/attempt")
}

func BenchmarkUnpack(b *testing.B) {
	entries := pack(thousand())
	for b.Loop() {
		for _, e := range entries {
			if _, err := unpack(engine.Message{Data: e.Data}); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/maxBatch, "ns/attempt")
}
