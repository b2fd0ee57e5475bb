package engine_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"hark/internal/engine"
	"hark/internal/engine/enginetest"
)

// TestLease hands a lease from one to the other: by release, and by a holder that is gone.
func TestLease(t *testing.T) {
	t.Parallel()
	url := enginetest.Server(t)
	open := func(name string) (*engine.Engine, *engine.Lease) {
		e := enginetest.Open(t, engine.Config{URL: url})
		l, err := e.Lease(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		return e, l
	}
	firstEngine, first := open("http://first")
	_, second := open("http://second")
	if !first.Free(t.Context()) {
		t.Error("a new lease is not free")
	}
	if err := first.Take(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if err := first.Valid(); err != nil {
		t.Error(err)
	}
	if second.Free(t.Context()) || second.Valid() == nil {
		t.Error("the second believes that it may work")
	}
	if err := second.Take(t.Context(), false); !errors.Is(err, engine.ErrHeld) || second.Holder() != "http://first" {
		t.Errorf("without patience: %v, held by %s", err, second.Holder())
	}
	// It stays held for longer than its life.
	waiting, cancel := context.WithTimeout(t.Context(), engine.LeaseLife+2*time.Second)
	defer cancel()
	if err := second.Take(waiting, true); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a lease that is renewed is taken: %v", err)
	}
	first.Release(t.Context())
	started := time.Now()
	if err := second.Take(t.Context(), true); err != nil || time.Since(started) > 2*time.Second {
		t.Errorf("a released lease is taken after %v: %v", time.Since(started), err)
	}
	if first.Valid() == nil {
		t.Error("the first believes that it may work")
	}

	// The second one is gone without a word: its lease is over, for itself before others take it.
	_, third := open("http://third")
	second.Abandon()
	taken := make(chan time.Time, 1)
	go func() {
		if err := third.Take(context.WithoutCancel(t.Context()), true); err != nil {
			t.Error(err)
		}
		taken <- time.Now()
	}()
	var over time.Time
	for over.IsZero() {
		if second.Valid() != nil {
			over = time.Now()
		}
		time.Sleep(time.Millisecond)
	}
	if at := <-taken; !over.Before(at) {
		t.Errorf("the former holder trusts its lease until %v, another has it from %v", over, at)
	}
	third.Release(t.Context())
	firstEngine.Close()
}

// TestALostLeaseIsNoticed takes the lease while its holder is cut off.
func TestALostLeaseIsNoticed(t *testing.T) {
	t.Parallel()
	url := enginetest.Server(t)
	e := enginetest.Open(t, engine.Config{URL: url})
	first, err := e.Lease(t.Context(), "http://first")
	if err != nil {
		t.Fatal(err)
	}
	second, err := e.Lease(t.Context(), "http://second")
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Take(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	first.Freeze()
	if err := second.Take(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if first.Valid() == nil {
		t.Error("a holder that stood still trusts its lease")
	}
	first.Thaw()
	select {
	case <-first.Lost():
	case <-time.After(10 * time.Second):
		t.Error("the former holder does not notice")
	}
	second.Release(t.Context())
}
