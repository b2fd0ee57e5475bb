package shard

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"hark/internal/apps"
	"hark/internal/id"
	"hark/internal/records"
	"hark/internal/subscription"
)

// TestPagesComeBack changes an installed app's subscriptions at random. What its pages' records
// say after each change is what it has, in the same order.
func TestPagesComeBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		app := &apps.Installed{ID: id.New[id.InstalledApp](), Location: id.New[id.Location]()}
		in := newInstalled(app)
		kept := map[string][]byte{}
		keep := func(writes []records.Write) {
			for _, w := range writes {
				if w.Value == nil {
					delete(kept, w.ID)
					continue
				}
				kept[w.ID] = w.Value.(records.Raw)
			}
		}
		for i := range rapid.IntRange(1, 120).Draw(t, "changes") {
			switch n := len(in.subscriptions); {
			case n == 0 || rapid.IntRange(0, 3).Draw(t, "what") > 1:
				sub, err := subscription.ParseRequest(fmt.Appendf(nil, `{"sourceType":"DEVICE","device":{"deviceId":%q,"value":%q}}`,
					id.New[id.Device](), strings.Repeat("x", rapid.IntRange(0, 250).Draw(t, "length"))))
				if err != nil {
					t.Fatal(err)
				}
				sub.ID, sub.App, sub.Location = id.New[id.Subscription](), in.id, app.Location
				keep(in.add(sub))
			case rapid.Bool().Draw(t, "end"):
				at := rapid.IntRange(0, n-1).Draw(t, "at")
				in.subscriptions[at] = in.subscriptions[at].EndedAt(uint64(i + 1))
				keep(in.changed([]int{at}))
			default:
				keep(in.remove(in.subscriptions[rapid.IntRange(0, n-1).Draw(t, "at")]))
			}
			reader := newPageReader()
			for key, data := range kept {
				if len(data) > pageBytes+1<<10 {
					t.Fatalf("a page of %d bytes", len(data))
				}
				reader.raw <- rawPage{key, data}
			}
			if err := reader.end(); err != nil {
				t.Fatal(err)
			}
			back := newInstalled(app)
			back.restore(reader.pages[app.ID])
			if len(back.subscriptions) != len(in.subscriptions) {
				t.Fatalf("%d of %d subscriptions come back", len(back.subscriptions), len(in.subscriptions))
			}
			for i, sub := range in.subscriptions {
				if got := back.subscriptions[i]; got.ID != sub.ID || got.Until != sub.Until || got.Same() != sub.Same() {
					t.Fatalf("place %d: %+v, was %+v", i, got, sub)
				}
			}
		}
		keep(in.forgotten())
		if len(kept) > 0 {
			t.Fatalf("%d pages are left of no subscriptions", len(kept))
		}
	})
}
