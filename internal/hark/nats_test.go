package hark

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"hark/internal/engine"
	"hark/internal/engine/enginetest"
	"hark/internal/records"
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

// TestAnotherHarkStandsBy has two harks on one NATS: the second stands by, says so, and takes over
// when the first one stops.
func TestAnotherHarkStandsBy(t *testing.T) {
	t.Parallel()
	url := enginetest.Server(t)
	with := func(c *Config) { c.NATS = NATS{URL: url, Replicas: 1} }
	h := run(t, t.TempDir(), with)
	lamp := h.device("Floor lamp")
	cfg := Config{Listen: "127.0.0.1:0", Data: t.TempDir(), NATS: NATS{URL: url, Replicas: 1}}
	second, err := New(t.Context(), cfg, slog.New(slog.DiscardHandler), Serve)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() { over <- second.Run(ctx) }()
	standby := &instance{t: t, server: second, token: h.token}
	if second.Active() {
		t.Error("both are active")
	}
	status, header, body := standby.try("GET", "/devices", nil)
	if status != http.StatusServiceUnavailable || header.Get("Retry-After") == "" {
		t.Errorf("the standby answers %d %v", status, header)
	}
	contains(t, "the refusal", string(body), "stands by", h.server.BaseURL())
	standby.refused(http.StatusServiceUnavailable, "GET", "/readyz", nil)
	equal(t, "the standby's health", get(standby.ok("GET", "/healthz", nil), "active"), h.server.BaseURL())
	for _, purpose := range []Purpose{Demo, Admin} {
		other := cfg
		other.Data = t.TempDir()
		if _, err := New(t.Context(), other, slog.New(slog.DiscardHandler), purpose); !errors.Is(err, engine.ErrHeld) {
			t.Errorf("a third one of purpose %d: %v", purpose, err)
		}
	}
	h.report(lamp, "switch", "switch", "on")
	h.stop()
	eventually(t, "the standby takes over", func() bool { status, _, _ := standby.try("GET", "/readyz", nil); return status == http.StatusOK })
	equal(t, "what it knows", get(standby.ok("GET", "/devices/"+lamp+"/status", nil), "components", "main", "switch", "switch", "value"), "on")
	cancel()
	if err := <-over; err != nil {
		t.Error(err)
	}
}

// TestAFencedHarkEnds opens the engine's streams past the lease: the active hark acknowledges nothing
// any more, and ends with the reason.
func TestAFencedHarkEnds(t *testing.T) {
	t.Parallel()
	url := enginetest.Server(t)
	log := slog.New(slog.DiscardHandler)
	first, err := New(t.Context(), Config{Listen: "127.0.0.1:0", Data: t.TempDir(), NATS: NATS{URL: url, Replicas: 1}}, log, Demo)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- first.Run(context.Background()) }()
	home, _ := first.Home()
	e := enginetest.Open(t, engine.Config{URL: url})
	for _, name := range []string{"home", "directory"} {
		store, err := records.Open(t.Context(), e, name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(store.Close)
	}
	if _, err := first.shard.CreateMode(context.Background(), owner, home.ID, "Lost"); err == nil {
		t.Error("the first hark acknowledged a change after another opened its records")
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
}
