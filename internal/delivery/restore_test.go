package delivery

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"hark/internal/appcall"
	"hark/internal/apps"
	"hark/internal/attempts"
	"hark/internal/directory"
	"hark/internal/engine"
	"hark/internal/engine/enginetest"
	"hark/internal/event"
	"hark/internal/id"
	"hark/internal/journal"
	"hark/internal/limits"
	"hark/internal/scope"
	"hark/internal/subscription"
	"hark/internal/telemetry"
)

type nobody struct{}

func (nobody) Add(*attempts.Attempt) {}

// oneApp is a home with one installed app that wants every mode event.
type oneApp struct {
	app *apps.Installed
	sub *subscription.Subscription
}

func (h oneApp) May() error { return nil }

func (h oneApp) Installed(id.InstalledApp) (*apps.Installed, bool) { return h.app, true }

func (h oneApp) Pause(context.Context, id.InstalledApp, string) error { return nil }

func (h oneApp) MatchFor(_ id.InstalledApp, e *event.Event) []*subscription.Subscription {
	if h.sub.Matches(e) != subscription.Matches {
		return nil
	}
	return []*subscription.Subscription{h.sub}
}

func (h oneApp) MatchNow(app id.InstalledApp, e *event.Event) []*subscription.Subscription {
	return h.MatchFor(app, e)
}

// TestARestoredCursorTrustsTheJournal restores a cursor after a crash in which the position of
// the location's newest event was stored too old: what the journal has is delivered all the same.
func TestARestoredCursorTrustsTheJournal(t *testing.T) {
	t.Parallel()
	arrived := make(chan string, 100)
	target := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		var call struct {
			EventData struct {
				Events []struct{ ModeEvent struct{ EventID string } }
			}
		}
		if err := json.Unmarshal(b, &call); err != nil {
			t.Error(err)
		}
		arrived <- call.EventData.Events[0].ModeEvent.EventID
	}))
	t.Cleanup(target.Close)
	log := slog.New(slog.DiscardHandler)
	e := enginetest.Open(t, engine.Config{Dir: t.TempDir()})
	dir, err := directory.Open(t.Context(), e, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dir.Close)
	app, _, err := dir.CreateApp(t.Context(), scope.Principal{Scopes: scope.All},
		&apps.App{Name: "restored", Type: apps.APIOnly, TargetURL: target.URL, TargetStatus: apps.Confirmed, SignatureType: apps.STPadlock})
	if err != nil {
		t.Fatal(err)
	}
	j, err := journal.Open(t.Context(), e, "test", journal.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(j.Close)
	at := id.New[id.Location]()
	var want []string
	var events []*event.Event
	for range 3 * readAhead { // more than one read
		events = append(events, &event.Event{ID: id.New[id.Event](), Type: event.ModeEvent, Time: time.Now(), Location: at, Mode: id.New[id.Mode]()})
		want = append(want, events[len(events)-1].ID.String())
	}
	done := make(chan error, 1)
	if err := j.Append(events, func(err error) { done <- err }); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	in := &apps.Installed{ID: id.New[id.InstalledApp](), App: app.ID, Location: at, Status: apps.Authorized, Permissions: scope.Set{"r:locations:*"}}
	sub := &subscription.Subscription{ID: id.New[id.Subscription](), App: &in.ID, Filter: &subscription.Filter{Source: subscription.Mode}, Location: at}
	d := New(t.Context(), log, dir, j, appcall.New(dir, appcall.EgressAny, telemetry.New()), nobody{}, oneApp{in, sub}, limits.Limits{}, telemetry.New())
	before := events[0].Seq - 1
	d.Restore(in.ID, at, Place{Position: before})
	d.RestoreLast(at, before)
	d.Reach(j.Committed())
	d.Start()
	t.Cleanup(func() { d.Stop(t.Context()) })
	for i, id := range want {
		select {
		case got := <-arrived:
			if got != id {
				t.Fatalf("delivery %d is %s, want %s", i, got, id)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%d of %d events arrived", i, len(want))
		}
	}
}

// TestAClockThatWasSetBack restores a refused event whose last attempt is in the future.
func TestAClockThatWasSetBack(t *testing.T) {
	t.Parallel()
	d := New(t.Context(), slog.New(slog.DiscardHandler), nil, nil, nil, nobody{}, oneApp{}, limits.Limits{}, telemetry.New())
	now := time.Now()
	app := id.New[id.InstalledApp]()
	for after, want := range map[time.Duration]time.Duration{3 * time.Hour: 5 * time.Minute, -time.Minute: 4 * time.Minute} {
		r := &Refused{InstalledApp: app, Event: id.New[id.Event](), Last: now.Add(after), Next: now.Add(after + 5*time.Minute)}
		d.RestoreRefused(r)
		if got := d.FindRefused(app, r.Event, r.Subscription).Next.Sub(now); got < want || got > want+10*time.Second {
			t.Errorf("last tried %v ago, it is tried again in %v, want %v", -after, got, want)
		}
		if due := d.FindRefused(app, r.Event, r.Subscription).due; due == due.Round(0) {
			t.Error("it waits by a clock that can be set")
		}
	}
}
