package hark

import (
	"context"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"hark/internal/engine/enginetest"
)

// TestOnAnExistingNATS runs everything on a NATS server and on a cluster of three instead of
// the embedded engine, and starts again with nothing but that.
func TestOnAnExistingNATS(t *testing.T) {
	for name, c := range map[string]struct {
		url      func(testing.TB) string
		replicas int
	}{"server": {enginetest.Server, 1}, "cluster": {enginetest.Cluster, 3}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nats := NATS{URL: c.url(t), Replicas: c.replicas}
			with := func(c *Config) { c.NATS = nats }
			h := run(t, t.TempDir(), with)
			a := h.install("remote", "r:devices:*")
			lamp := h.device("Floor lamp")
			a.subscribe("DEVICE", object{"deviceId": lamp})
			h.report(lamp, "switch", "switch", "on")
			a.only("on")
			h.stop()

			h = run(t, t.TempDir(), with) // another directory: all that counts is in NATS
			equal(t, "the state", get(h.ok("GET", "/devices/"+lamp+"/status", nil), "components", "main", "switch", "switch", "value"), "on")
			h.report(lamp, "switch", "switch", "off")
			a.only("off")
		})
	}
}

// TestAnOutageOfNATSIsShownAndOutlived stops the NATS server under a hark and starts it again.
func TestAnOutageOfNATSIsShownAndOutlived(t *testing.T) {
	t.Parallel()
	nats := enginetest.Restartable(t)
	h := run(t, t.TempDir(), func(c *Config) { c.NATS = NATS{URL: nats.URL, Replicas: 1} })
	a := h.install("outage", "r:devices:*")
	lamp := h.device("Floor lamp")
	a.subscribe("DEVICE", object{"deviceId": lamp})
	nats.Stop()
	eventually(t, "it is not ready", func() bool {
		status, _, _ := h.try("GET", "/readyz", nil)
		return status == http.StatusServiceUnavailable
	})
	reported := make(chan string)
	go func() { reported <- h.report(lamp, "switch", "switch", "on") }() // waits until it is durable
	nats.Start()
	equal(t, "the report's state change", <-reported, "true")
	a.only("on")
	eventually(t, "it is ready again", func() bool { status, _, _ := h.try("GET", "/readyz", nil); return status == http.StatusOK })
}

// TestASecondHarkTakesOver opens the same NATS from a second hark: the first one can append
// nothing any more, and ends with the reason.
func TestASecondHarkTakesOver(t *testing.T) {
	t.Parallel()
	cfg := Config{Listen: "127.0.0.1:0", NATS: NATS{URL: enginetest.Server(t), Replicas: 1}}
	open := func(dir string) *Server {
		cfg.Data = dir
		s, err := New(context.Background(), cfg, slog.New(slog.DiscardHandler), Demo)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	first := open(t.TempDir())
	ended := make(chan error, 1)
	go func() { ended <- first.Run(context.Background()) }()
	second := open(t.TempDir())
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() { over <- second.Run(ctx) }()
	home, _ := first.Home()
	if _, err := first.shard.CreateMode(context.Background(), owner, home.ID, "Lost"); err == nil {
		t.Error("the first hark acknowledged a change after the second took over")
	}
	select {
	case err := <-ended:
		if err == nil {
			t.Error("the first hark ended without a reason")
		} else {
			contains(t, "the reason", err.Error(), "another hark has taken over")
		}
	case <-time.After(20 * time.Second):
		t.Error("the first hark goes on")
	}
	if l, err := second.shard.Location(owner, home.ID); err != nil || len(l.Modes) != 3 {
		t.Errorf("the second hark sees %v, %v", l, err)
	}
	cancel()
	if err := <-over; err != nil {
		t.Error(err)
	}
}
