package engine_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"hark/internal/engine"
	"hark/internal/engine/enginetest"
)

var config = engine.StreamConfig{Name: "TEST", Prefix: "test"}

func openStream(t *testing.T, e *engine.Engine) *engine.Stream {
	t.Helper()
	s, err := e.OpenStream(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAppendAndReadBack(t *testing.T) {
	enginetest.Each(t, func(t *testing.T, open func() *engine.Engine) {
		e := open()
		s := openStream(t, e)
		want := map[uint64]string{}
		var mu sync.Mutex
		var order []uint64
		var wait sync.WaitGroup
		// Sizes on both sides of the border between singles and batches, and a batch of the most.
		for _, size := range []int{1, 2, 5, 11, 12, 13, 200, engine.MaxAppend} {
			for _, atomic := range []bool{false, true} {
				var entries []engine.Entry
				for i := range size {
					entries = append(entries, engine.Entry{Key: fmt.Sprintf("k.%d", i%7), Data: fmt.Appendf(nil, "%d/%d/%v", size, i, atomic)})
				}
				wait.Add(1)
				var first uint64
				first, err := s.Append(entries, atomic, func(err error) {
					if err != nil {
						t.Errorf("append of %d: %v", size, err)
					}
					mu.Lock()
					order = append(order, uint64(size))
					mu.Unlock()
					wait.Done()
				})
				if err != nil {
					t.Fatal(err)
				}
				for i, e := range entries {
					want[first+uint64(i)] = string(e.Data)
				}
			}
		}
		wait.Wait()
		for i := 1; i < len(order); i++ {
			if order[i] < order[i-1] {
				t.Fatalf("done was called out of order: %v", order)
			}
		}
		if got := s.Committed(); got != s.Next()-1 {
			t.Errorf("committed %d, want %d", got, s.Next()-1)
		}
		s.Close()
		e.Close()

		s = openStream(t, open())
		defer s.Close()
		if err := s.Scan(t.Context(), 1, func(m engine.Message) error {
			if want[m.Seq] != string(m.Data) {
				t.Errorf("position %d holds %q, want %q", m.Seq, m.Data, want[m.Seq])
			}
			delete(want, m.Seq)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if len(want) > 0 {
			t.Errorf("%d entries are missing after opening again", len(want))
		}
	})
}

func TestReadFilters(t *testing.T) {
	enginetest.Each(t, func(t *testing.T, open func() *engine.Engine) {
		s := openStream(t, open())
		defer s.Close()
		for i := range 30 {
			if _, err := s.AppendWait(t.Context(), engine.Entry{Key: fmt.Sprintf("home%d.device", i%3), Data: fmt.Append(nil, i)}); err != nil {
				t.Fatal(err)
			}
		}
		var got []string
		from := uint64(0)
		for len(got) < 10 { // a replica may lag
			messages, _, err := s.Read(t.Context(), from, "home1.>", 4)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range messages {
				got, from = append(got, string(m.Data)), m.Seq+1
			}
		}
		if fmt.Sprint(got) != "[1 4 7 10 13 16 19 22 25 28]" {
			t.Errorf("read %v", got)
		}
	})
}

func TestOpeningElsewhereFences(t *testing.T) {
	enginetest.Each(t, func(t *testing.T, open func() *engine.Engine) {
		e := open()
		first := openStream(t, e)
		defer first.Close()
		if _, err := first.AppendWait(t.Context(), engine.Entry{Key: "a", Data: []byte("1")}); err != nil {
			t.Fatal(err)
		}
		second := openStream(t, e)
		defer second.Close()
		if _, err := first.AppendWait(t.Context(), engine.Entry{Key: "a", Data: []byte("2")}); !errors.Is(err, engine.ErrFenced) {
			t.Errorf("the former writer's append: %v, want ErrFenced", err)
		}
		if _, err := first.Append([]engine.Entry{{Key: "a"}}, false, func(error) {}); !errors.Is(err, engine.ErrFenced) {
			t.Errorf("the former writer's next append: %v, want ErrFenced", err)
		}
		if _, err := second.AppendWait(t.Context(), engine.Entry{Key: "a", Data: []byte("3")}); err != nil {
			t.Errorf("the new writer's append: %v", err)
		}
	})
}

// TestNothingOfAFormerWriter appends groups of all sizes by a writer whose stream was opened
// elsewhere: none of its entries may take the place after the new writer's mark, though that is
// the position that its second entry expects.
func TestNothingOfAFormerWriter(t *testing.T) {
	enginetest.Each(t, func(t *testing.T, open func() *engine.Engine) {
		e := open()
		for _, size := range []int{1, 2, 5, 30} {
			former := openStream(t, e)
			defer former.Close()
			current := openStream(t, e)
			defer current.Close()
			result := make(chan error, 1)
			entries := make([]engine.Entry, size)
			for i := range entries {
				entries[i] = engine.Entry{Key: "former"}
			}
			if _, err := former.Append(entries, false, func(err error) { result <- err }); err != nil {
				t.Fatal(err)
			}
			if err := <-result; !errors.Is(err, engine.ErrFenced) {
				t.Errorf("%d entries of a former writer: %v, want ErrFenced", size, err)
			}
			if _, err := current.AppendWait(t.Context(), engine.Entry{Key: "current"}); err != nil {
				t.Errorf("the new writer, after %d entries of the former one: %v", size, err)
			}
		}
		s := openStream(t, e)
		defer s.Close()
		if err := s.Scan(t.Context(), 1, func(m engine.Message) error {
			if m.Key == "former" {
				t.Errorf("an entry of a former writer is at %d", m.Seq)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	})
}

func TestAppendRefusesImpossibleSizes(t *testing.T) {
	t.Parallel()
	s := openStream(t, enginetest.Open(t, engine.Config{Dir: t.TempDir()}))
	if _, err := s.Append(nil, false, nil); err == nil {
		t.Error("appending nothing is no error")
	}
	if _, err := s.Append(make([]engine.Entry, engine.MaxAppend+1), false, nil); err == nil {
		t.Error("appending too much is no error")
	}
	s.Close()
	if _, err := s.AppendWait(t.Context(), engine.Entry{Key: "a"}); !errors.Is(err, engine.ErrClosed) {
		t.Errorf("append after close: %v, want ErrClosed", err)
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{1, 10, 100, 1000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s, err := enginetest.Open(b, engine.Config{Dir: b.TempDir()}).OpenStream(b.Context(), config)
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			entries := make([]engine.Entry, size)
			for i := range entries {
				entries[i] = engine.Entry{Key: "home.device", Data: make([]byte, 400)}
			}
			for b.Loop() {
				if _, err := s.AppendWait(b.Context(), entries...); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(size*b.N)/b.Elapsed().Seconds(), "entries/s")
		})
	}
}

func BenchmarkScan(b *testing.B) {
	const entries = 100_000
	e := enginetest.Open(b, engine.Config{Dir: b.TempDir()})
	open := func() *engine.Stream {
		s, err := e.OpenStream(b.Context(), config)
		if err != nil {
			b.Fatal(err)
		}
		return s
	}
	s := open()
	batch := make([]engine.Entry, engine.MaxAppend)
	for i := range batch {
		batch[i] = engine.Entry{Key: fmt.Sprint("home.", i), Data: make([]byte, 400)}
	}
	for range entries / len(batch) {
		if _, err := s.AppendWait(b.Context(), batch...); err != nil {
			b.Fatal(err)
		}
	}
	s.Close()
	s = open() // a scan reads what was there when the stream was opened
	defer s.Close()
	for b.Loop() {
		n := 0
		if err := s.Scan(b.Context(), 1, func(engine.Message) error { n++; return nil }); err != nil || n != entries {
			b.Fatalf("%d entries, %v", n, err)
		}
	}
	b.ReportMetric(entries*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
}
