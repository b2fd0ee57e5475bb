package delivery

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hark/internal/appcall"
	"hark/internal/apps"
	"hark/internal/attempts"
	"hark/internal/event"
	"hark/internal/id"
	"hark/internal/limits"
	"hark/internal/scope"
	"hark/internal/subscription"
	"hark/internal/telemetry"
)

// policyHome is a home with one installed app, in virtual time: its events, its app's answers and
// what is noted of them are all in memory.
type policyHome struct {
	mu     sync.Mutex
	app    *apps.App
	in     *apps.Installed
	sub    *subscription.Subscription
	events []*event.Event
	answer func(e string) error // what the app answers a call with these events
	calls  []policyCall
	began  time.Time

	d *Dispatcher
}

// policyCall is a call that the app got: when, and which events.
type policyCall struct {
	at     time.Duration
	events string
	to     string
}

func (h *policyHome) May() error { return nil }

func (h *policyHome) Installed(id.InstalledApp) (*apps.Installed, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.in, true
}

func (h *policyHome) Pause(_ context.Context, _ id.InstalledApp, reason string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	in := *h.in
	in.Paused = &apps.Pause{Since: time.Now(), Reason: reason}
	h.in = &in
	return nil
}

func (h *policyHome) MatchFor(_ id.InstalledApp, e *event.Event) []*subscription.Subscription {
	return []*subscription.Subscription{h.sub}
}

func (h *policyHome) MatchNow(app id.InstalledApp, e *event.Event) []*subscription.Subscription {
	return h.MatchFor(app, e)
}

func (h *policyHome) App(id.App) (*apps.App, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.app, true
}

func (h *policyHome) EventToken(id.InstalledApp, time.Time) string { return "" }
func (h *policyHome) Add(*attempts.Attempt)                        {}
func (h *policyHome) First(context.Context) (uint64, error)        { return 1, nil }
func (h *policyHome) Read(_ context.Context, _ id.Location, after uint64, limit int) ([]*event.Event, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	from := min(after, uint64(len(h.events)))
	return slices.Clone(h.events[from:min(from+uint64(limit), uint64(len(h.events)))]), nil
}

func (h *policyHome) Prepare(context.Context, *apps.App, *appcall.Message) error { return nil }

// Call answers after 10 ms of virtual time.
func (h *policyHome) Call(ctx context.Context, app *apps.App, m appcall.Message) (appcall.Answer, error) {
	time.Sleep(10 * time.Millisecond)
	h.mu.Lock()
	defer h.mu.Unlock()
	var names strings.Builder
	for _, e := range h.events {
		if bytes.Contains(m.Body, []byte(e.ID.String())) {
			names.WriteString(fmt.Sprint(e.Seq, " "))
		}
	}
	h.calls = append(h.calls, policyCall{time.Since(h.began), names.String(), app.TargetURL})
	return appcall.Answer{}, h.answer(names.String())
}

func (h *policyHome) happen() {
	h.mu.Lock()
	e := &event.Event{ID: id.New[id.Event](), Type: event.ModeEvent, Time: time.Now(), Location: h.in.Location, Mode: id.New[id.Mode](), Seq: uint64(len(h.events) + 1)}
	h.events = append(h.events, e)
	h.mu.Unlock()
	h.d.Offer(e, []*subscription.Subscription{h.sub})
}

// inVirtualTime runs the test with an app of the settings.
func inVirtualTime(t *testing.T, how apps.Delivery, test func(*policyHome)) {
	t.Helper()
	afterRestart(t, how, nil, test)
}

// afterRestart is inVirtualTime with something to restore.
func afterRestart(t *testing.T, how apps.Delivery, before, test func(*policyHome)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		in := &apps.Installed{ID: id.New[id.InstalledApp](), Location: id.New[id.Location](), Status: apps.Authorized, Permissions: scope.Set{"r:locations:*"}}
		h := &policyHome{
			app: &apps.App{Name: "policy", Type: apps.APIOnly, TargetURL: "http://app.example/", TargetStatus: apps.Confirmed, Delivery: how},
			in:  in, began: time.Now(), answer: func(string) error { return nil },
			sub: &subscription.Subscription{ID: id.New[id.Subscription](), App: &in.ID, Filter: &subscription.Filter{Source: subscription.Mode}, Location: in.Location},
		}
		h.d = New(t.Context(), slog.New(slog.DiscardHandler), h, h, h, h, h, limits.Limits{}, telemetry.New())
		if before != nil {
			before(h)
		}
		h.d.Start()
		test(h)
		h.d.Stop(t.Context())
	})
}

// was returns the calls so far, and whether the app is paused.
func (h *policyHome) was() (calls []policyCall, paused bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.calls), h.in.Paused != nil
}

// becomes sets what the app answers from now on.
func (h *policyHome) becomes(answer func(string) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answer, h.calls = answer, nil
}

func refusal(status int) error {
	return &appcall.Failure{Status: status, Message: fmt.Sprint("answered ", status)}
}

// TestRefusedEventsInVirtualTime refuses an event for three days: nine more attempts at the
// documented times, then a dead letter; the next event does not wait.
func TestRefusedEventsInVirtualTime(t *testing.T) {
	t.Parallel()
	inVirtualTime(t, apps.Delivery{}, func(h *policyHome) {
		h.answer = func(events string) error {
			if events == "1 " {
				return refusal(400)
			}
			return nil
		}
		h.happen()
		h.happen()
		time.Sleep(30 * time.Second)
		if calls, _ := h.was(); len(calls) != 3 || calls[1].events != "2 " || calls[1].at > time.Second {
			t.Errorf("the calls of the first half minute: %v", calls)
		}
		time.Sleep(5 * 24 * time.Hour)
		var waits []time.Duration
		last := time.Duration(0)
		calls, _ := h.was()
		for _, c := range calls {
			if c.events == "1 " {
				waits = append(waits, c.at-last)
				last = c.at
			}
		}
		if len(waits) != 10 {
			t.Fatalf("%d attempts, want ten", len(waits))
		}
		for i, want := range apps.DefaultRetries {
			if got, want := waits[i+1], time.Duration(want); got < want || got > want+want/10+time.Second {
				t.Errorf("attempt %d comes after %v, want %v and up to a tenth more", i+2, got, want)
			}
		}
		letters := h.d.Refused(h.in.ID)
		if len(letters) != 1 || !letters[0].Dead || letters[0].Attempts != 10 {
			t.Errorf("dead letters: %v", letters)
		}
	})
}

// TestAnEndpointThatIsDownInVirtualTime is probed ever more rarely, with the oldest event, drained
// in order when it is back, and paused after the days that its settings say.
func TestAnEndpointThatIsDownInVirtualTime(t *testing.T) {
	t.Parallel()
	inVirtualTime(t, apps.Delivery{PauseAfter: apps.Duration(48 * time.Hour)}, func(h *policyHome) {
		h.answer = func(string) error { return refusal(503) }
		for range 5 {
			h.happen()
		}
		time.Sleep(24 * time.Hour)
		calls, _ := h.was()
		last := calls[0].at
		for i, c := range calls[1:] {
			wait := c.at - last
			most := min(firstDelay<<min(i, 10), lastDelay)
			if c.events != "1 " || wait < most/2 || wait > most+time.Second {
				t.Fatalf("probe %d has %q after %v, want the oldest event after %v to %v", i+1, c.events, wait, most/2, most)
			}
			last = c.at
		}
		if n := len(calls); n < 24*60 || n > 2*24*60+20 {
			t.Errorf("%d probes in a day", n)
		}
		// It comes back: all that waited arrives within a minute, in order.
		h.becomes(func(string) error { return nil })
		time.Sleep(time.Minute + time.Second)
		if calls, _ := h.was(); len(calls) != 5 || calls[0].events != "1 " || calls[4].events != "5 " {
			t.Errorf("the backlog: %v", calls)
		}
		// Down again, for as long as its settings let it.
		h.becomes(func(string) error { return refusal(503) })
		h.happen()
		time.Sleep(47 * time.Hour)
		if _, paused := h.was(); paused {
			t.Error("it is paused too early")
		}
		time.Sleep(2 * time.Hour)
		before, paused := h.was()
		if !paused {
			t.Fatal("it is not paused")
		}
		time.Sleep(24 * time.Hour)
		if after, _ := h.was(); len(after) != len(before) {
			t.Error("a paused app is called")
		}
		if s := h.d.Status(h.in); s.State != Paused || s.LastFailure == "" {
			t.Errorf("its status: %+v", s)
		}
	})
}

// TestAfterAPowerCutInVirtualTime restores an app that was down when the server stopped for a week,
// and comes up half an hour after it: it is not paused. One that stays down is.
func TestAfterAPowerCutInVirtualTime(t *testing.T) {
	t.Parallel()
	for downFor, want := range map[time.Duration]bool{30 * time.Minute: false, 3 * time.Hour: true} {
		afterRestart(t, apps.Delivery{}, func(h *policyHome) {
			week := time.Now().Add(-7 * 24 * time.Hour)
			h.events = []*event.Event{{ID: id.New[id.Event](), Type: event.ModeEvent, Time: week, Location: h.in.Location, Mode: id.New[id.Mode](), Seq: 1}}
			h.answer = func(string) error { return refusal(503) }
			h.d.Restore(h.in.ID, h.in.Location, Place{Since: week, Down: week})
			h.d.RestoreLast(h.in.Location, 1)
			h.d.Reach(1)
		}, func(h *policyHome) {
			time.Sleep(downFor)
			h.becomes(func(string) error { return nil })
			time.Sleep(2 * time.Minute)
			calls, paused := h.was()
			if paused != want || (len(calls) == 1) == want {
				t.Errorf("down for another %v it is paused: %v, and gets %v", downFor, paused, calls)
			}
		})
	}
}

// TestSlowStartInVirtualTime probes an app that takes large calls with one event, and gives it ever
// more once it is back.
func TestSlowStartInVirtualTime(t *testing.T) {
	t.Parallel()
	inVirtualTime(t, apps.Delivery{MaxEvents: 20}, func(h *policyHome) {
		h.answer = func(string) error { return refusal(503) }
		for range 100 {
			h.happen()
		}
		time.Sleep(time.Hour)
		calls, _ := h.was()
		for _, c := range calls[1:] {
			if c.events != "1 " {
				t.Fatalf("a probe carries %q, want the oldest event", c.events)
			}
		}
		h.becomes(func(string) error { return nil })
		time.Sleep(2 * time.Minute)
		var sizes []int
		var order []string
		calls, _ = h.was()
		for _, c := range calls {
			events := strings.Fields(c.events)
			sizes, order = append(sizes, len(events)), append(order, events...)
		}
		if want := []int{1, 2, 4, 8, 16, 20}; len(sizes) < len(want) || !slices.Equal(sizes[:len(want)], want) || len(order) != 100 {
			t.Errorf("the backlog of 100 came in calls of %v, want %v at first", sizes, want)
		}
		for i, e := range order {
			if e != fmt.Sprint(i+1) {
				t.Fatalf("the order: %v", order)
			}
		}
	})
}

// TestCallsMadeAheadInVirtualTime changes where an app is, and then what it may see, while calls to
// it wait ready to go: none of these goes out as it was.
func TestCallsMadeAheadInVirtualTime(t *testing.T) {
	t.Parallel()
	inVirtualTime(t, apps.Delivery{}, func(h *policyHome) {
		h.answer = func(events string) error { // with h.mu held
			switch events {
			case "3 ":
				moved := *h.app
				moved.TargetURL = "http://new.example/"
				h.app = &moved
			case "6 ":
				blind := *h.in
				blind.Permissions = nil
				h.in = &blind
			}
			return nil
		}
		for range 20 {
			h.happen()
		}
		time.Sleep(time.Minute)
		calls, _ := h.was()
		var got strings.Builder
		for _, c := range calls {
			got.WriteString(c.events + c.to + " ")
		}
		want := "1 http://app.example/ 2 http://app.example/ 3 http://app.example/ 4 http://new.example/ 5 http://new.example/ 6 http://new.example/ "
		if got.String() != want {
			t.Errorf("the calls are %s\nwant %s", &got, want)
		}
		if n := h.d.Counters().Withheld; n != 14 {
			t.Errorf("%d events are withheld, want 14", n)
		}
	})
}

// TestRetryAfterInVirtualTime holds the probe back for as long as the app asks.
func TestRetryAfterInVirtualTime(t *testing.T) {
	t.Parallel()
	inVirtualTime(t, apps.Delivery{}, func(h *policyHome) {
		h.answer = func(string) error {
			return &appcall.Failure{Status: 429, Message: "busy", RetryAfter: 10 * time.Minute}
		}
		h.happen()
		time.Sleep(25 * time.Minute)
		if calls, _ := h.was(); len(calls) != 3 || calls[1].at < 10*time.Minute || calls[2].at < 20*time.Minute {
			t.Errorf("the calls: %v", calls)
		}
	})
}

// TestGatheringInVirtualTime sends what gathers when there is enough, or when its time has come.
func TestGatheringInVirtualTime(t *testing.T) {
	t.Parallel()
	inVirtualTime(t, apps.Delivery{MaxEvents: 3, MaxDelay: apps.Duration(10 * time.Second)}, func(h *policyHome) {
		for range 4 {
			h.happen()
			time.Sleep(time.Second)
		}
		time.Sleep(time.Minute)
		if calls, _ := h.was(); len(calls) != 2 || calls[0].events != "1 2 3 " || calls[0].at > 3*time.Second || calls[1].events != "4 " ||
			calls[1].at < 13*time.Second || calls[1].at > 14*time.Second {
			t.Errorf("the calls: %v", calls)
		}
	})
}
