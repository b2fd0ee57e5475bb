package delivery

import (
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"

	"hark/internal/event"
	"hark/internal/id"
	"hark/internal/limits"
	"hark/internal/subscription"
	"hark/internal/telemetry"
)

// TestEachAppGetsItsOwnInOrder offers an event to many subscriptions of many apps, mixed.
func TestEachAppGetsItsOwnInOrder(t *testing.T) {
	t.Parallel()
	d := New(t.Context(), slog.New(slog.DiscardHandler), nil, nil, nil, nil, nil, limits.Limits{}, telemetry.New())
	e := &event.Event{ID: id.New[id.Event](), Location: id.New[id.Location](), Seq: 1}
	want := map[id.InstalledApp][]*subscription.Subscription{}
	var list []id.InstalledApp
	for range 20 {
		list = append(list, id.New[id.InstalledApp]())
	}
	var matched []*subscription.Subscription
	for range 200 {
		app := list[rand.N(len(list))]
		s := &subscription.Subscription{ID: id.New[id.Subscription](), App: &app}
		want[app] = append(want[app], s)
		matched = append(matched, s)
	}
	d.Offer(e, matched)
	clear(matched) // it is the caller's again
	if len(d.cursors) != len(want) {
		t.Errorf("%d apps have something to take, want %d", len(d.cursors), len(want))
	}
	for app, own := range want {
		if c := d.cursors[app]; c == nil || len(c.queue) != 1 || !slices.Equal(c.queue[0].subscriptions, own) {
			t.Errorf("%s does not get its %d, in order", app, len(own))
		}
	}
}
