package journal_test

import (
	"testing"
	"time"

	"hark/internal/engine"
	"hark/internal/engine/enginetest"
	"hark/internal/event"
	"hark/internal/id"
	"hark/internal/journal"
)

func open(t *testing.T, e *engine.Engine, cfg journal.Config) *journal.Journal {
	t.Helper()
	j, err := journal.Open(t.Context(), e, "test", cfg)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func mode(at id.Location) *event.Event {
	return &event.Event{ID: id.New[id.Event](), Type: event.ModeEvent, Time: time.Now().UTC().Truncate(time.Millisecond), Location: at, Mode: id.Mode{1}}
}

func appended(t *testing.T, j *journal.Journal, events ...*event.Event) {
	t.Helper()
	done := make(chan error, 1)
	if err := j.Append(events, func(err error) { done <- err }); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestEventsComeBackByLocationAndInOrder(t *testing.T) {
	enginetest.Each(t, func(t *testing.T, engineOpen func() *engine.Engine) {
		e := engineOpen()
		j := open(t, e, journal.Config{})
		here, there := id.New[id.Location](), id.New[id.Location]()
		var want []*event.Event
		for range 10 {
			a, b := mode(here), mode(there)
			appended(t, j, a, b)
			want = append(want, a)
			if b.Seq != a.Seq+1 {
				t.Fatalf("positions %d and %d are not next to each other", a.Seq, b.Seq)
			}
		}
		if j.Last() != j.Committed() || j.Last() != want[9].Seq+1 {
			t.Errorf("last %d, committed %d, want %d", j.Last(), j.Committed(), want[9].Seq+1)
		}
		var got []*event.Event
		for after := uint64(0); len(got) < len(want); { // a replica may lag
			read, err := j.Read(t.Context(), here, after, 3)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range read {
				got, after = append(got, e), e.Seq
			}
		}
		for i := range want {
			if got[i].ID != want[i].ID || got[i].Seq != want[i].Seq {
				t.Errorf("event %d is %v at %d, want %v at %d", i, got[i].ID, got[i].Seq, want[i].ID, want[i].Seq)
			}
		}
		j.Close()
		e.Close()

		j = open(t, engineOpen(), journal.Config{})
		defer j.Close()
		seen := 0
		if err := j.Scan(t.Context(), want[4].Seq, func(e *event.Event) error {
			seen++
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if seen != 11 { // one of the other location's, and five pairs
			t.Errorf("%d events after the fifth, want 11", seen)
		}
	})
}

func TestRetention(t *testing.T) {
	t.Parallel()
	j := open(t, enginetest.Open(t, engine.Config{Dir: t.TempDir()}), journal.Config{MaxBytes: 20_000})
	defer j.Close()
	at := id.New[id.Location]()
	var newest *event.Event
	for range 200 {
		newest = mode(at)
		appended(t, j, newest)
	}
	first, err := j.First(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if first < 50 || first > newest.Seq {
		t.Errorf("the oldest event kept is at %d of %d", first, newest.Seq)
	}
	read, err := j.Read(t.Context(), at, 0, 1)
	if err != nil || len(read) != 1 || read[0].Seq != first {
		t.Errorf("reading from the beginning gives %v, %v; want the event at %d", read, err, first)
	}
}
