package bench

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"hark/internal/process"
)

// sink is an endpoint that takes everything, and counts the events.
type sink struct {
	*httptest.Server
	calls  atomic.Int64
	events atomic.Int64
}

// perCall is how many events a sink takes a call for.
func newSink(perCall int64) *sink {
	s := &sink{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if n, err := io.Copy(io.Discard, r.Body); err == nil && n > 0 {
			s.calls.Add(1)
			s.events.Add(perCall)
		}
	}))
	return s
}

// delivery measures from journalled events to acknowledged calls: a backlog is fed, and the
// time taken until all of it has arrived.
func (l *lab) delivery(ctx context.Context) error {
	for _, m := range []struct {
		name     string
		settings map[string]any
		apps     int
		batch    int // events in a call
		guess    float64
		note     func(Figure)
	}{
		{"delivery, RSA, 8 apps", map[string]any{}, 8, 1, l.value(limitRSA), func(f Figure) { f.Limit = limitRSA; l.ofLimit(0.75, f) }},
		{"delivery, ECDSA, 8 apps", map[string]any{"signatures": []string{"ECDSA"}}, 8, 1, 8000, func(f Figure) { f.Limit = limitPOST; l.ofLimit(0.5, f) }},
		{"delivery, Standard Webhooks, 8 apps", map[string]any{"signatures": []string{"STANDARD_WEBHOOKS"}}, 8, 1, 8000, func(f Figure) { f.Limit = limitPOST; l.ofLimit(0.5, f) }},
		{"delivery, RSA, batches of 100, 1 app", map[string]any{"maxEvents": 100}, 1, 100, 50_000, func(f Figure) { f.Unit = "events/s"; l.atLeast(50_000, f) }},
	} {
		v, err := l.deliver(ctx, m.settings, m.apps, m.batch, int(m.guess*l.For.Seconds()))
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		m.note(Figure{Name: m.name, Value: v, Unit: "/s"})
	}
	return nil
}

// deliver returns how many events a second the apps get together.
func (l *lab) deliver(ctx context.Context, settings map[string]any, apps, batch, events int) (float64, error) {
	h, err := l.hark(ctx, fmt.Sprintf("delivery-%v-%d", settings["signatures"], batch))
	if err != nil {
		return 0, err
	}
	defer end(h)
	device, err := h.Meter("bench")
	if err != nil {
		return 0, err
	}
	to := newSink(int64(batch))
	defer to.Close()
	var installed []string
	for i := range apps {
		in, err := h.Install(fmt.Sprintf("bench-%d", i), to.URL, settings)
		if err != nil {
			return 0, err
		}
		if err := h.Call("POST", "/hark/v1/installedapps/"+in+"/pause", map[string]any{"reason": "the backlog is fed"}, nil); err != nil {
			return 0, err
		}
		installed = append(installed, in)
	}
	requests := max(events/apps/100, 1)
	body, client := powerReports(device, 100), newClient()
	for range requests {
		if _, err := post(client, h.BaseURL+"/hark/v1/events", h.Token, body); err != nil {
			return 0, err
		}
	}
	before, want := to.events.Load(), int64(requests*100*apps)
	started := time.Now()
	for _, in := range installed {
		if err := h.Call("POST", "/hark/v1/installedapps/"+in+"/resume", nil, nil); err != nil {
			return 0, err
		}
	}
	for to.events.Load()-before < want {
		if time.Since(started) > 20*l.For+time.Minute || ctx.Err() != nil {
			return 0, fmt.Errorf("%d of %d events arrived\n%s", to.events.Load()-before, want, h.Log)
		}
		time.Sleep(2 * time.Millisecond)
	}
	return float64(want) / time.Since(started).Seconds(), nil
}

// latencyRate is how many events a second are reported while latency is measured.
const latencyRate = 200

// reported finds the value in a webhook.
var reported = regexp.MustCompile(`"value":(\d+)`)

// latency measures from when a report's request is sent to when its signed call arrives, while
// one other app of the home is dead and one hangs.
func (l *lab) latency(ctx context.Context) error {
	h, err := l.hark(ctx, "latency")
	if err != nil {
		return err
	}
	defer end(h)
	count := int(l.For.Seconds() * latencyRate)
	sent, arrived := make([]time.Time, count), make([]time.Time, count)
	var n atomic.Int64
	counting := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		now := time.Now()
		body, err := io.ReadAll(r.Body)
		if m := reported.FindSubmatch(body); err == nil && m != nil {
			if i, err := strconv.Atoi(string(m[1])); err == nil && i < count && arrived[i].IsZero() {
				arrived[i] = now
			}
			n.Add(1)
		}
	}))
	defer counting.Close()
	hung := make(chan struct{})
	hanging := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hung }))
	defer func() { close(hung); hanging.Close() }()
	device, err := l.furnish(h, counting.URL, hanging.URL, "http://127.0.0.1:1/")
	if err != nil {
		return err
	}
	client, url := newClient(), h.BaseURL+"/hark/v1/events"
	for i := range 20 { // connections are opened, and the hanging app hangs
		if _, err := post(client, url, h.Token, powerReport(device, int64(count+i))); err != nil {
			return err
		}
	}
	for deadline := time.Now().Add(10 * time.Second); n.Load() < 20 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(time.Second)
	n.Store(0)
	started := time.Now()
	failed := make(chan error, count)
	for i := range count { // on schedule, whatever the answers take
		time.Sleep(time.Until(started.Add(time.Duration(i) * time.Second / latencyRate)))
		sent[i] = time.Now()
		go func() {
			_, err := post(client, url, h.Token, powerReport(device, int64(i)))
			failed <- err
		}()
	}
	for range count {
		if err := <-failed; err != nil {
			return err
		}
	}
	for deadline := time.Now().Add(30 * time.Second); n.Load() < int64(count); {
		if time.Now().After(deadline) {
			return fmt.Errorf("%d of %d events arrived", n.Load(), count)
		}
		time.Sleep(time.Millisecond)
	}
	took := make([]float64, count)
	for i := range count {
		took[i] = float64(arrived[i].Sub(sent[i]).Microseconds()) / 1000
	}
	slices.Sort(took)
	what := fmt.Sprintf(" from report to webhook, RSA, %d/s, one app dead, one hanging", latencyRate)
	l.atMost(2, Figure{Name: "p50" + what, Value: took[count/2], Unit: "ms"})
	l.atMost(10, Figure{Name: "p99" + what, Value: took[count*99/100], Unit: "ms"})
	return nil
}

// furnish makes a device and an app for each URL.
func (l *lab) furnish(h *process.Hark, urls ...string) (device string, err error) {
	if device, err = h.Meter("bench"); err != nil {
		return "", err
	}
	for i, url := range urls {
		if _, err := h.Install(fmt.Sprintf("bench-%d", i), url, map[string]any{}); err != nil {
			return "", err
		}
	}
	return device, nil
}
