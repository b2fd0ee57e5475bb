package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"hark/internal/process"
)

// soakRate is how many events a second a soak reports.
const soakRate = 200

// soakEvery is how often a soak looks.
const soakEvery = 10 * time.Second

// sample is what a soak looks at.
type sample struct{ resident, heap, goroutines, files float64 }

// soak runs a hark under a steady load for long: apps that take, refuse, hang and are down, homes
// that are made and deleted. Memory, goroutines and files in the middle and at the end should be
// the same.
func (l *lab) soak(ctx context.Context) error {
	h, err := process.Start(ctx, l.Binary, "dev", "--listen", "127.0.0.1:0", "--data", l.Dir+"/soak", "--log-level", "error",
		"--retention-bytes", strconv.Itoa(16<<20), "--attempt-bytes", strconv.Itoa(8<<20)) // full before the middle
	if err != nil {
		return err
	}
	defer end(h)
	taking := newSink(1)
	defer taking.Close()
	hung := make(chan struct{})
	answering := func(fn http.HandlerFunc) string {
		s := httptest.NewServer(fn)
		go func() { <-hung; s.CloseClientConnections(); s.Close() }()
		return s.URL
	}
	defer close(hung)
	device, err := l.furnish(h, taking.URL, taking.URL, "http://127.0.0.1:1/",
		answering(func(http.ResponseWriter, *http.Request) { <-hung }),
		answering(func(w http.ResponseWriter, _ *http.Request) {
			if rand.N(200) == 0 {
				w.WriteHeader(http.StatusBadRequest)
			}
		}))
	if err != nil {
		return err
	}
	soaking, cancel := context.WithTimeout(ctx, l.Soak)
	defer cancel()
	var wait sync.WaitGroup
	var fed, churned atomic.Int64
	failed := make(chan error, 2)
	wait.Go(func() { failed <- feedSteadily(soaking, h, device, &fed) })
	wait.Go(func() { failed <- churn(soaking, h, taking.URL, &churned) })
	var samples []sample
	for soaking.Err() == nil {
		select {
		case <-time.After(soakEvery):
		case <-soaking.Done():
			continue
		case err := <-failed:
			if err != nil {
				cancel()
				wait.Wait()
				return fmt.Errorf("%w\n%s", err, h.Log)
			}
			continue
		}
		s, err := look(h)
		if err != nil {
			return err
		}
		samples = append(samples, s)
		if len(samples)%6 == 0 {
			fmt.Fprintf(l.Out, "%s  soaked for %v: %.0f MB resident, %.0f MB of heap until a collection, %.0f goroutines, %.0f files; %d events, %d homes came and went\n", time.Now().Format(time.TimeOnly), // for people
				time.Duration(len(samples))*soakEvery, s.resident, s.heap, s.goroutines, s.files, fed.Load(), churned.Load())
		}
	}
	wait.Wait()
	if ctx.Err() != nil || len(samples) < 6 {
		return fmt.Errorf("a soak of %v is too short to say anything", l.Soak)
	}
	l.flat(samples)
	l.note(Figure{Name: "events in that time", Value: float64(fed.Load())})
	l.note(Figure{Name: "homes that came and went", Value: float64(churned.Load())})
	l.note(Figure{Name: "webhooks that arrived", Value: float64(taking.calls.Load())})
	return nil
}

// flat notes whether the last third of a soak takes what the middle one took.
func (l *lab) flat(samples []sample) {
	third := len(samples) / 3
	for _, m := range []struct {
		name, unit string
		of         func(sample) float64
	}{
		{"resident memory", "MB", func(s sample) float64 { return s.resident }},
		{"heap that calls for a collection", "MB", func(s sample) float64 { return s.heap }}, // a multiple of what the last one left
		{"goroutines", "", func(s sample) float64 { return s.goroutines }},
		{"open files", "", func(s sample) float64 { return s.files }},
	} {
		of := func(samples []sample) float64 {
			values := make([]float64, len(samples))
			for i, s := range samples {
				values[i] = m.of(s)
			}
			return median(values)
		}
		middle, last := of(samples[third:2*third]), of(samples[2*third:])
		f := Figure{Name: fmt.Sprintf("%s after %v of soak", m.name, l.Soak), Value: last, Unit: m.unit, Goal: fmt.Sprintf("at most 1.1 of %s in the middle", number(middle)), Missed: last > 1.1*middle+2}
		l.note(f)
	}
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

func feedSteadily(ctx context.Context, h *process.Hark, device string, fed *atomic.Int64) error {
	client := newClient()
	tick := time.NewTicker(time.Second / (soakRate / 10))
	defer tick.Stop()
	for ctx.Err() == nil {
		if _, err := post(client, h.BaseURL+"/hark/v1/events", h.Token, powerReports(device, 10)); err != nil {
			return err
		}
		fed.Add(10)
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	return nil
}

// churn makes homes with a device, an app and a stream, and deletes them again.
func churn(ctx context.Context, h *process.Hark, target string, churned *atomic.Int64) error {
	client := newClient()
	for i := 0; ctx.Err() == nil; i++ {
		var location struct{ LocationID string }
		if err := h.Call("POST", "/locations", map[string]any{"name": "guest", "countryCode": "GBR"}, &location); err != nil {
			return err
		}
		at := *h
		at.LocationID = location.LocationID
		device, err := at.Meter("meter")
		if err != nil {
			return err
		}
		name := fmt.Sprintf("guest-%d", i)
		installed, err := at.Install(name, target, map[string]any{})
		if err != nil {
			return err
		}
		if _, err := post(client, h.BaseURL+"/hark/v1/events", h.Token, powerReports(device, 3)); err != nil {
			return err
		}
		for _, path := range []string{"/installedapps/" + installed, "/apps/" + name, "/locations/" + location.LocationID} {
			if err := h.Call("DELETE", path, nil, nil); err != nil {
				return err
			}
		}
		churned.Add(1)
		select {
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	return nil
}

// look reads the hark's own metrics.
func look(h *process.Hark) (s sample, err error) {
	status, content, err := h.Try("GET", "/metrics", nil)
	if err != nil || status != http.StatusOK {
		return s, fmt.Errorf("/metrics: %d %w", status, err)
	}
	for line := range strings.Lines(string(content)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		for _, m := range []struct {
			name string
			to   *float64
			unit float64
		}{
			{"process_resident_memory_bytes", &s.resident, 1 << 20},
			{"go_memstats_next_gc_bytes", &s.heap, 1 << 20},
			{"go_goroutines", &s.goroutines, 1},
			{"process_open_fds", &s.files, 1},
		} {
			if name == m.name {
				v, err := strconv.ParseFloat(value, 64)
				if err != nil {
					return s, fmt.Errorf("/metrics: %s: %w", line, err)
				}
				*m.to = v / m.unit
			}
		}
	}
	return s, nil
}
