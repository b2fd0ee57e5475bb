package shard

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"testing"
	"time"

	"hark/internal/appcall"
	"hark/internal/apps"
	"hark/internal/directory"
	"hark/internal/engine"
	"hark/internal/home"
	"hark/internal/id"
	"hark/internal/records"
	"hark/internal/scope"
	"hark/internal/subscription"
	"hark/internal/telemetry"
)

// BenchmarkStart measures opening a shard with 10,000 installed apps of 10 subscriptions each,
// in 100 locations.
func BenchmarkStart(b *testing.B) {
	const locations, perLocation, perApp = 100, 100, 10
	dir, log, ctx := b.TempDir(), slog.New(slog.DiscardHandler), context.Background()
	open := func() (*engine.Engine, *directory.Directory, *Shard) {
		e, err := engine.Open(ctx, engine.Config{Dir: dir}, log)
		if err != nil {
			b.Fatal(err)
		}
		d, err := directory.Open(ctx, e, log)
		if err != nil {
			b.Fatal(err)
		}
		s, err := Open(ctx, e, Config{Name: "home"}, d, appcall.New(d, appcall.EgressAny, telemetry.New()), log)
		if err != nil {
			b.Fatal(err)
		}
		return e, d, s
	}
	shut := func(e *engine.Engine, d *directory.Directory, s *Shard) {
		s.Close(ctx)
		d.Close()
		e.Close()
	}
	e, d, s := open()
	owner := scope.Principal{Scopes: scope.All}
	var writes []records.Write
	for range locations {
		l, err := s.CreateLocation(ctx, owner, home.Location{Name: "Home"})
		if err != nil {
			b.Fatal(err)
		}
		for range perLocation {
			in := apps.Installed{ID: id.New[id.InstalledApp](), App: id.New[id.App](), Location: l.ID, Status: apps.Authorized, Permissions: scope.Set{"r:devices:*"}}
			writes = append(writes, records.Write{Kind: kindInstalled, ID: in.ID.String(), Value: in})
			held := newInstalled(&in)
			for i := range perApp {
				sub, err := subscription.ParseRequest(fmt.Appendf(nil, `{"sourceType":"DEVICE","device":{"deviceId":%q,"subscriptionName":"s%d"}}`, id.New[id.Device](), i))
				if err != nil {
					b.Fatal(err)
				}
				sub.ID, sub.App, sub.Location = id.New[id.Subscription](), &in.ID, l.ID
				held.subscriptions = append(held.subscriptions, sub)
			}
			held.pages = []page{{count: perApp}}
			writes = append(writes, held.changed([]int{0})...)
		}
	}
	if err := s.records.Write(ctx, writes...); err != nil {
		b.Fatal(err)
	}
	shut(e, d, s)
	writes = nil
	var before, after runtime.MemStats
	for b.Loop() {
		b.StopTimer()
		runtime.GC()
		runtime.ReadMemStats(&before)
		b.StartTimer()
		started := time.Now()
		e, d, s = open()
		b.ReportMetric(float64(locations*perLocation*perApp)/time.Since(started).Seconds(), "subscriptions/s")
		b.StopTimer()
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(locations*perLocation*perApp), "B/subscription")
		shut(e, d, s)
		b.StartTimer()
	}
}
