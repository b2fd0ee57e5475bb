package shard

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"hark/internal/appcall"
	"hark/internal/apps"
	"hark/internal/directory"
	"hark/internal/engine"
	"hark/internal/engine/enginetest"
	"hark/internal/event"
	"hark/internal/home"
	"hark/internal/id"
	"hark/internal/records"
	"hark/internal/telemetry"
)

// reopened opens a shard on a data directory, and returns how to stop it without a last
// checkpoint, as a crash would, and how to close it well.
func reopened(t *testing.T, dir string, now func() time.Time) (s *Shard, crash, shut func()) {
	t.Helper()
	e := enginetest.Open(t, engine.Config{Dir: dir})
	s, d := openOn(t, e, now)
	crash = func() {
		s.stop()
		s.running.Wait()
		s.delivery.Stop(t.Context())
		s.journal.Close()
		s.records.Close()
		d.Close()
		e.Close()
	}
	shut = func() {
		s.Close(context.WithoutCancel(t.Context()))
		d.Close()
		e.Close()
	}
	return s, crash, shut
}

// openOn opens a shard and its directory on an engine.
func openOn(t *testing.T, e *engine.Engine, now func() time.Time) (*Shard, *directory.Directory) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	d, err := directory.Open(t.Context(), e, log)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), e, Config{Name: "home", Now: now}, d, appcall.New(d, appcall.EgressAny, telemetry.New()), log)
	if err != nil {
		t.Fatal(err)
	}
	return s, d
}

// journalled returns the events of a type in the journal.
func journalled(t *testing.T, s *Shard, of event.Type) (events []*event.Event) {
	t.Helper()
	if err := s.Past(t.Context(), 0, s.Committed(), func(uint64) {}, func(e *event.Event) error {
		if e.Type == of {
			events = append(events, e)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return events
}

// TestAnnouncedEventsHappenOnce stops a shard at each place between a change and its event: the
// event is in the journal afterwards, once.
func TestAnnouncedEventsHappenOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, crash, _ := reopened(t, dir, nil)
	l, err := s.CreateLocation(t.Context(), owner, home.Location{Name: "Home"})
	if err != nil {
		t.Fatal(err)
	}
	// The change and the announcement are durable, the event is not.
	cut := event.New(event.SceneLifecycleEvent, l.ID, l.Modes[0].ID)
	cut.Scene = &event.SceneLifecycle{Kind: event.Create, Scene: id.New[id.Scene]()}
	if err := s.records.Write(t.Context(), records.Write{Kind: kindAnnounced, ID: cut.ID.String(), Value: cut}); err != nil {
		t.Fatal(err)
	}
	crash()
	for range 3 { // each start finds the announcement, and from the second on the event
		s, crash, _ = reopened(t, dir, nil)
		if err := s.durable(t.Context(), s.journal.Last()); err != nil {
			t.Fatal(err)
		}
		if got := journalled(t, s, event.SceneLifecycleEvent); len(got) != 1 || got[0].ID != cut.ID {
			t.Fatalf("the journal has %d events, want the one that was cut off", len(got))
		}
		crash()
	}
	s, _, shut := reopened(t, dir, nil)
	if _, err := s.CreateScene(t.Context(), owner, home.Scene{Location: l.ID, Name: "Another"}); err != nil {
		t.Fatal(err)
	}
	shut()
	s, _, shut = reopened(t, dir, nil)
	defer shut()
	left := 0
	s.records.Close()
	if err := s.records.Load(t.Context(), func(kind, _ string, _ []byte) error {
		if kind == kindAnnounced {
			left++
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if got := journalled(t, s, event.SceneLifecycleEvent); len(got) != 2 || left > 0 {
		t.Errorf("%d events and %d announcements are left after a checkpoint, want 2 and none", len(got), left)
	}
}

// TestSchedulesFireOncePerOccurrence sets the clock while a shard is open, stopped and crashed.
func TestSchedulesFireOncePerOccurrence(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var ahead atomic.Int64 // minutes
	start := time.Date(2026, 1, 2, 3, 4, 30, 0, time.UTC)
	now := func() time.Time { return start.Add(time.Duration(ahead.Load()) * time.Minute) }
	s, crash, _ := reopened(t, dir, now)
	l, err := s.CreateLocation(t.Context(), owner, home.Location{Name: "Home"})
	if err != nil {
		t.Fatal(err)
	}
	in, err := s.Install(t.Context(), owner, apps.Installed{Location: l.ID, App: id.New[id.App]()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.FinishInstall(t.Context(), in.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Schedule(t.Context(), owner, in.ID, []byte(`{"name":"minutely","cron":{"expression":"* * * * ? *"}}`)); err != nil {
		t.Fatal(err)
	}
	due := func(minutes int64) {
		t.Helper()
		ahead.Store(minutes)
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			list, err := s.Schedules(owner, in.ID)
			if err != nil {
				t.Fatal(err)
			}
			if list[0].Due[0].After(now()) {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("the schedule does not fire at %v", now())
			}
		}
	}
	for minute := range int64(5) {
		due(minute + 1)
	}
	crash()
	ahead.Store(7)
	s, _, shut := reopened(t, dir, now)
	due(8)
	shut()
	s, _, shut = reopened(t, dir, now)
	defer shut()
	due(9)
	got := journalled(t, s, event.TimerEvent)
	for deadline := time.Now().Add(20 * time.Second); len(got) < 9 && time.Now().Before(deadline); got = journalled(t, s, event.TimerEvent) {
		time.Sleep(5 * time.Millisecond) // the last follows its record
	}
	if len(got) != 9 {
		t.Errorf("%d timer events in nine minutes", len(got))
	}
	for i, e := range got {
		if want := start.Truncate(time.Minute).Add(time.Duration(i+1) * time.Minute); !e.Timer.Due.Equal(want) {
			t.Errorf("event %d was due at %v, want %v", i, e.Timer.Due, want)
		}
	}
}
