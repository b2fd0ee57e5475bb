package records_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"sync"
	"testing"

	"hark/internal/engine"
	"hark/internal/engine/enginetest"
	"hark/internal/records"
)

func openStore(t *testing.T, e *engine.Engine) *records.Store {
	t.Helper()
	s, err := records.Open(t.Context(), e, "test")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func load(t *testing.T, s *records.Store) map[string]int {
	t.Helper()
	all := map[string]int{}
	if err := s.Load(t.Context(), func(kind, id string, data []byte) error {
		var v int
		if err := json.Unmarshal(data, &v); err != nil {
			return err
		}
		all[kind+" "+id] = v
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestNewestValuesComeBack(t *testing.T) {
	enginetest.Each(t, func(t *testing.T, open func() *engine.Engine) {
		e := open()
		s := openStore(t, e)
		want := map[string]int{}
		var many []records.Write
		for i := range 1500 { // more than one batch
			many = append(many, records.Write{Kind: "many", ID: fmt.Sprint(i), Value: i})
			want[fmt.Sprintf("many %d", i)] = i
		}
		many = append(many, records.Write{Kind: "many", ID: "7", Value: 70}) // twice in a call: the last one counts
		want["many 7"] = 70
		if err := s.Write(t.Context(), many...); err != nil {
			t.Fatal(err)
		}
		if err := s.Write(t.Context(), records.Write{Kind: "many", ID: "3"}, records.Write{Kind: "dotted", ID: "acme.level", Value: 1}); err != nil {
			t.Fatal(err)
		}
		delete(want, "many 3")
		want["dotted acme.level"] = 1
		if err := s.Write(t.Context()); err != nil {
			t.Errorf("writing nothing: %v", err)
		}
		s.Close()
		e.Close()

		s = openStore(t, open())
		defer s.Close()
		if got := load(t, s); !maps.Equal(got, want) {
			t.Errorf("%d records came back, want %d", len(got), len(want))
		}
	})
}

func TestWritersQueueInOrder(t *testing.T) {
	enginetest.Each(t, func(t *testing.T, open func() *engine.Engine) {
		e := open()
		s := openStore(t, e)
		var mu sync.Mutex
		var wait sync.WaitGroup
		last := 0
		for range 8 {
			wait.Go(func() {
				for range 20 {
					mu.Lock() // as an owner of records does: change memory and queue under one lock
					last++
					result := make(chan error, 1)
					err := s.Queue(func(err error) { result <- err }, records.Write{Kind: "counter", ID: "x", Value: last})
					mu.Unlock()
					if err == nil {
						err = <-result
					}
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		wait.Wait()
		s.Close()
		e.Close()
		s = openStore(t, open())
		defer s.Close()
		if got := load(t, s)["counter x"]; got != last {
			t.Errorf("the record holds %d, want the last, %d", got, last)
		}
	})
}
