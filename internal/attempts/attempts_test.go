package attempts

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"hark/internal/engine"
	"hark/internal/engine/enginetest"
	"hark/internal/id"
)

// TestPaging notes attempts of several apps, small and large, and reads them back in both
// directions, a page at a time: each app's are complete and in order.
func TestPaging(t *testing.T) {
	t.Parallel()
	l, err := Open(t.Context(), enginetest.Open(t, engine.Config{Dir: t.TempDir()}), "test", 64<<20, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	apps := []id.InstalledApp{id.New[id.InstalledApp](), id.New[id.InstalledApp](), id.New[id.InstalledApp]()}
	want := map[id.InstalledApp][]string{}
	for i := range 2500 {
		a := &Attempt{Time: time.Now().UTC(), InstalledApp: apps[i%7%3], App: fmt.Sprint(i), Outcome: Delivered}
		if i%50 == 0 {
			a.Response = strings.Repeat("x", 40<<10)
		}
		l.Add(a)
		want[a.InstalledApp] = append(want[a.InstalledApp], a.App)
		if i == 1200 {
			if err := l.flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	collect := func(q Query, on func(*Query, uint64)) map[id.InstalledApp][]string {
		got := map[id.InstalledApp][]string{}
		for {
			found, next, err := l.Find(t.Context(), q, 70)
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range found {
				got[a.InstalledApp] = append(got[a.InstalledApp], a.App)
			}
			if on(&q, next); next == 0 {
				return got
			}
		}
	}
	older := func(q *Query, next uint64) { q.Before = next }
	newer := func(q *Query, next uint64) { q.After = next }
	backward := collect(Query{}, older)
	one := collect(Query{InstalledApp: apps[1]}, older)
	forward := collect(Query{After: 1}, newer)
	for _, app := range apps {
		slices.Reverse(backward[app])
		for way, got := range map[string][]string{"newest first": backward[app], "oldest first": forward[app]} {
			if !slices.Equal(got, want[app]) {
				t.Errorf("%s: %d attempts come back of %d, or in another order", way, len(got), len(want[app]))
			}
		}
	}
	if slices.Reverse(one[apps[1]]); !slices.Equal(one[apps[1]], want[apps[1]]) || len(one) != 1 {
		t.Errorf("of one app: %d attempts come back of %d", len(one[apps[1]]), len(want[apps[1]]))
	}
}
