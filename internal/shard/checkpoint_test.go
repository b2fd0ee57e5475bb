package shard

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"hark/internal/capability"
	"hark/internal/engine"
	"hark/internal/engine/enginetest"
	"hark/internal/home"
	"hark/internal/id"
	"hark/internal/records"
	"hark/internal/scope"
)

var owner = scope.Principal{Name: "test", Scopes: scope.All}

// furnished opens a shard with a location and a lamp in it. Its own checkpoints are stopped, so
// that the test makes them.
func furnished(t *testing.T, cfg engine.Config) (*Shard, id.Device) {
	t.Helper()
	e := enginetest.Open(t, cfg)
	s, d := openOn(t, e, nil)
	t.Cleanup(d.Close)
	s.stop()
	s.running.Wait()
	l, err := s.CreateLocation(t.Context(), owner, home.Location{Name: "Home"})
	if err != nil {
		t.Fatal(err)
	}
	p, _ := home.FindPrototype("VIRTUAL_DIMMER_SWITCH")
	lamp, err := s.CreateDevice(t.Context(), owner, home.Device{Label: "Lamp", Type: home.Virtual, Location: l.ID, Components: p.Components()}, p.State())
	if err != nil {
		t.Fatal(err)
	}
	return s, lamp.ID
}

func level(device id.Device, n int) []Report {
	return []Report{{Device: device, Capability: "switchLevel", Attribute: "level", Value: capability.Number(float64(n % 101))}}
}

// TestCheckpointsAgreeWithThemselves makes checkpoints while events are journalled, and looks at
// what is stored: a location's newest event is never older than the low-water mark says.
func TestCheckpointsAgreeWithThemselves(t *testing.T) {
	t.Parallel()
	s, lamp := furnished(t, engine.Config{Dir: t.TempDir()})
	reporting, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for n := 0; reporting.Err() == nil; n++ {
			if _, err := s.Report(context.WithoutCancel(reporting), owner, level(lamp, n), true); err != nil {
				t.Error(err)
			}
		}
	}()
	last := uint64(0)
	for range 200 {
		p := s.pending()
		if err := s.durable(t.Context(), p.position); err != nil {
			t.Fatal(err)
		}
		if err := s.commit(t.Context(), func() ([]records.Write, error) {
			writes := s.checkpointWrites(p)
			for _, w := range writes {
				if place, ok := w.Value.(placeRecord); ok {
					last = place.Last
				}
			}
			if s.stored.LowWater > 1 && s.stored.LowWater > last { // the first position is the opening mark
				t.Errorf("the low-water mark is %d, but the location's newest event is stored as %d", s.stored.LowWater, last)
			}
			return writes, nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	<-ended
	s.Close(t.Context())
}

// TestAFailedCheckpointForgetsNothing breaks a checkpoint off while the engine is away, and
// holds that a shard can be closed then.
func TestAFailedCheckpointForgetsNothing(t *testing.T) {
	t.Parallel()
	nats := enginetest.Restartable(t)
	s, lamp := furnished(t, engine.Config{URL: nats.URL})
	if _, err := s.Report(t.Context(), owner, level(lamp, 1), true); err != nil {
		t.Fatal(err)
	}
	nats.Stop()
	brief, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := s.Report(brief, owner, level(lamp, 2), true); err == nil {
		t.Error("a report is acknowledged while the engine is away")
	}
	if err := s.checkpoint(brief); err == nil {
		t.Error("a checkpoint succeeds while the engine is away")
	}
	nats.Start()
	if err := s.durable(t.Context(), s.journal.Last()); err != nil {
		t.Fatal(err)
	}
	if err := s.checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	var kept stateRecord
	if err := s.records.Write(t.Context(), records.Write{Kind: "test", ID: "x", Value: 1}); err != nil {
		t.Fatal(err)
	}
	s.Close(t.Context())
	store, err := records.Open(t.Context(), enginetest.Open(t, engine.Config{URL: nats.URL}), "home")
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if err := store.Load(t.Context(), func(kind, key string, data []byte) error {
		if kind == kindState && key == lamp.String() {
			return json.Unmarshal(data, &kept)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, a := range kept.Attributes {
		if a.Attribute == "level" && a.Value != "2" {
			t.Errorf("the stored level is %s, want 2: the broken checkpoint lost it", a.Value)
		}
	}
}

// TestCloseEndsWhileTheEngineIsAway holds that a server can be stopped then.
func TestCloseEndsWhileTheEngineIsAway(t *testing.T) {
	t.Parallel()
	nats := enginetest.Restartable(t)
	s, lamp := furnished(t, engine.Config{URL: nats.URL})
	nats.Stop()
	brief, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := s.Report(brief, owner, level(lamp, 2), true); err == nil {
		t.Error("a report is acknowledged while the engine is away")
	}
	ended := make(chan struct{})
	go func() { s.Close(brief); close(ended) }()
	select {
	case <-ended:
	case <-time.After(45 * time.Second):
		t.Fatal("the shard cannot be closed while the engine is away")
	}
	nats.Start()
}
