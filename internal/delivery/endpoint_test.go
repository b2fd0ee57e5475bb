package delivery

import (
	"bytes"
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hark/internal/appcall"
	"hark/internal/apps"
	"hark/internal/event"
	"hark/internal/id"
	"hark/internal/limits"
	"hark/internal/scope"
	"hark/internal/subscription"
	"hark/internal/telemetry"
)

// crowd is a home in which many have installed one app.
type crowd struct {
	policyHome
	all  map[id.InstalledApp]*apps.Installed
	subs map[id.InstalledApp]*subscription.Subscription
	poor []id.InstalledApp // whose calls fail
}

func (h *crowd) Call(ctx context.Context, app *apps.App, m appcall.Message) (appcall.Answer, error) {
	for _, poor := range h.poor {
		if bytes.Contains(m.Body, []byte(poor.String())) {
			time.Sleep(10 * time.Millisecond)
			return appcall.Answer{}, refusal(503)
		}
	}
	return h.policyHome.Call(ctx, app, m)
}

func (h *crowd) Installed(app id.InstalledApp) (*apps.Installed, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	in, ok := h.all[app]
	return in, ok
}

func (h *crowd) pausedApps() (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, in := range h.all {
		if in.Paused != nil {
			n++
		}
	}
	return n
}

func (h *crowd) MatchFor(app id.InstalledApp, _ *event.Event) []*subscription.Subscription {
	return []*subscription.Subscription{h.subs[app]}
}

// Pause pauses one of them.
func (h *crowd) Pause(_ context.Context, app id.InstalledApp, reason string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	in := *h.all[app]
	in.Paused = &apps.Pause{Since: time.Now(), Reason: reason}
	h.all[app] = &in
	return nil
}

// happen offers an event that all of them want.
func (h *crowd) happen() { h.happenTo(slices.Collect(maps.Keys(h.subs))) }

// happenTo offers an event that some of them want.
func (h *crowd) happenTo(some []id.InstalledApp) {
	h.mu.Lock()
	e := &event.Event{ID: id.New[id.Event](), Type: event.ModeEvent, Time: time.Now(), Location: h.in.Location, Mode: id.New[id.Mode](), Seq: uint64(len(h.events) + 1)}
	h.events = append(h.events, e)
	h.mu.Unlock()
	var matched []*subscription.Subscription
	for _, app := range some {
		matched = append(matched, h.subs[app])
	}
	h.d.Offer(e, matched)
}

func inACrowd(t *testing.T, size int, how apps.Delivery, test func(*crowd)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		at, app := id.New[id.Location](), id.New[id.App]()
		h := &crowd{all: map[id.InstalledApp]*apps.Installed{}, subs: map[id.InstalledApp]*subscription.Subscription{}}
		h.in = &apps.Installed{Location: at}
		h.app = &apps.App{ID: app, Name: "crowd", Type: apps.APIOnly, TargetURL: "http://app.example/", TargetStatus: apps.Confirmed, Delivery: how}
		h.began, h.answer = time.Now(), func(string) error { return nil }
		for range size {
			in := &apps.Installed{ID: id.New[id.InstalledApp](), App: app, Location: at, Status: apps.Authorized, Permissions: scope.Set{"r:locations:*"}}
			h.all[in.ID] = in
			h.subs[in.ID] = &subscription.Subscription{ID: id.New[id.Subscription](), App: &in.ID, Filter: &subscription.Filter{Source: subscription.Mode}, Location: at}
		}
		h.d = New(t.Context(), slog.New(slog.DiscardHandler), h, h, h, h, h, limits.Limits{}, telemetry.New())
		h.d.Start()
		test(h)
		h.d.Stop(t.Context())
	})
}

// TestACrowdSharesACircuitInVirtualTime has the endpoint of an app down that many have
// installed: they probe it as one would, and are back together.
func TestACrowdSharesACircuitInVirtualTime(t *testing.T) {
	t.Parallel()
	const size = 2500
	inACrowd(t, size, apps.Delivery{}, func(h *crowd) {
		h.answer = func(string) error { return refusal(503) }
		h.happen()
		time.Sleep(time.Second / 2)
		h.becomes(h.answer)
		h.happen() // who is not under way any more does not try
		time.Sleep(2 * time.Hour)
		calls, _ := h.was()
		if len(calls) < 60 || len(calls) > 2*2*60+20 {
			t.Errorf("%d probes in two hours, want about one or two a minute", len(calls))
		}
		var st telemetry.State
		h.d.Observe(&st)
		if st.EndpointsDown != 1 || st.Waiting+st.Delivering != size {
			t.Errorf("%d endpoints are down, and %d wait for them", st.EndpointsDown, st.Waiting)
		}
		told := 0
		for _, in := range h.all {
			if s := h.d.Status(in); strings.Contains(s.LastFailure, "in turn: answered 503") && !s.DownSince.IsZero() && !s.NextAttempt.IsZero() {
				told++
			}
		}
		if told < size-120 { // the others have probed it
			t.Errorf("%d of %d are told why they wait", told, size)
		}
		h.becomes(func(string) error { return nil })
		time.Sleep(2*time.Minute + time.Second)
		calls, _ = h.was()
		if len(calls) != 2*size {
			t.Fatalf("%d calls once it is back, want two events to each of %d", len(calls), size)
		}
		if took := calls[len(calls)-1].at - calls[0].at; took > 4*time.Second {
			t.Errorf("the last is back %v after the first", took)
		}
	})
}

// TestSomeFailAloneInVirtualTime has some of many fail with every event. A few, and the others never
// wait. When more have failed, and nobody else called meanwhile, the others wait a minute once.
func TestSomeFailAloneInVirtualTime(t *testing.T) {
	t.Parallel()
	for poor, wait := range map[int]time.Duration{1: 0, downAfter - 1: 0, 2 * downAfter: time.Minute} {
		inACrowd(t, 30, apps.Delivery{}, func(h *crowd) {
			all := slices.Collect(maps.Keys(h.all))
			h.poor = all[:poor]
			h.happenTo(h.poor)
			time.Sleep(time.Hour) // these fail, and fail again
			for range 100 {
				h.happenTo(all[poor:])
				time.Sleep(time.Second)
			}
			time.Sleep(2 * time.Minute)
			calls, _ := h.was()
			if want := 100 * (30 - poor); len(calls) != want {
				t.Fatalf("with %d that fail, %d calls of the others are answered, want %d", poor, len(calls), want)
			}
			if first := calls[0].at - time.Hour; first > wait+time.Second {
				t.Errorf("with %d that fail, the first of the others waits for %v", poor, first)
			}
			if last := calls[len(calls)-1].at - time.Hour; last > 100*time.Second {
				t.Errorf("with %d that fail, the last of the others is served %v after the first event", poor, last)
			}
		})
	}
}

// TestACrowdIsPausedInVirtualTime has all of them told, and none called any more, when the endpoint
// has been down for too long.
func TestACrowdIsPausedInVirtualTime(t *testing.T) {
	t.Parallel()
	inACrowd(t, 50, apps.Delivery{PauseAfter: apps.Duration(24 * time.Hour)}, func(h *crowd) {
		h.answer = func(string) error { return refusal(503) }
		h.happen()
		time.Sleep(23 * time.Hour)
		if n := h.pausedApps(); n > 0 {
			t.Errorf("%d are paused too early", n)
		}
		time.Sleep(2 * time.Hour)
		if n := h.pausedApps(); n != 50 {
			t.Errorf("%d of 50 are paused", n)
		}
		h.becomes(h.answer)
		time.Sleep(24 * time.Hour)
		if calls, _ := h.was(); len(calls) > 0 {
			t.Errorf("%d calls to those that are paused", len(calls))
		}
	})
}

// TestADeadEndpointIsForgottenInVirtualTime uninstalls an app whose endpoint is down: nothing of it is
// kept, however many of them come and go.
func TestADeadEndpointIsForgottenInVirtualTime(t *testing.T) {
	t.Parallel()
	inACrowd(t, 10, apps.Delivery{}, func(h *crowd) {
		h.answer = func(string) error { return refusal(503) }
		h.happen()
		time.Sleep(time.Minute)
		uninstalled := slices.Collect(maps.Keys(h.all))
		kept := func() int {
			h.d.mu.Lock()
			defer h.d.mu.Unlock()
			return len(h.d.endpoints)
		}
		for i, app := range uninstalled {
			if kept() != 1 {
				t.Errorf("the circuit is forgotten while %d wait for its endpoint", len(uninstalled)-i)
			}
			h.d.Remove(app)
		}
		time.Sleep(time.Minute)
		if n := kept(); n > 0 {
			t.Errorf("%d circuits are kept of endpoints that nobody waits for", n)
		}
	})
}
