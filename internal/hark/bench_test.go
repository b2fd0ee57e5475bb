package hark

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"hark/internal/apps"
	"hark/internal/home"
	"hark/internal/scope"
	"hark/internal/subscription"
)

// benchServer is a hark with the demo home and a device to report with.
func benchServer(b *testing.B) (s *Server, token, device string) {
	b.Helper()
	dir := b.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	s, err := New(ctx, Config{Listen: "127.0.0.1:0", Data: dir, NATS: NATS{Replicas: 1}}, slog.New(slog.DiscardHandler), Demo)
	if err != nil {
		b.Fatal(err)
	}
	token, err = s.OwnerToken(ctx, dir)
	if err != nil {
		b.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	b.Cleanup(func() { cancel(); <-ended })
	for _, d := range s.shard.Devices(owner, func(d *home.Device) bool { return d.HasCapability("switchLevel") }) {
		device = d.ID.String()
	}
	return s, token, device
}

// benchApp installs an app that wants every report of the device.
func benchApp(b *testing.B, s *Server, name, target, device string) {
	b.Helper()
	location, _ := s.Home()
	app, _, err := s.directory.CreateApp(b.Context(), owner, &apps.App{Name: name, Type: apps.APIOnly, TargetURL: target, TargetStatus: apps.Confirmed, SignatureType: apps.STPadlock})
	if err != nil {
		b.Fatal(err)
	}
	in, err := s.shard.Install(b.Context(), owner, apps.Installed{App: app.ID, Location: location.ID, Permissions: scope.Set{"r:devices:*"}})
	if err == nil {
		_, err = s.shard.FinishInstall(b.Context(), in.ID)
	}
	if err == nil {
		draft, _ := subscription.ParseRequest(fmt.Appendf(nil, `{"sourceType":"DEVICE","device":{"deviceId":%q,"stateChangeOnly":false}}`, device))
		_, err = s.shard.Subscribe(b.Context(), owner, in.ID, draft)
	}
	if err != nil {
		b.Fatal(err)
	}
}

func post(client *http.Client, url, token, body string) error {
	r, err := http.NewRequest("POST", url, strings.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	response, err := client.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	content, _ := io.ReadAll(response.Body)
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", response.Status, content)
	}
	return nil
}

// BenchmarkSingleEvents reports one event a request from 256 clients, each acknowledged when
// it is durable. Clients share the processor with the server.
func BenchmarkSingleEvents(b *testing.B) {
	s, token, device := benchServer(b)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}}
	var n atomic.Int64
	b.SetParallelism(128) // times GOMAXPROCS, which is 2 on the machine of docs/performance.md
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			body := fmt.Sprintf(`{"deviceId":%q,"capability":"switchLevel","attribute":"level","value":%d}`, device, n.Add(1)%101)
			if err := post(client, s.BaseURL()+"/hark/v1/events", token, body); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkBulkEvents reports 100 events a request from 8 clients.
func BenchmarkBulkEvents(b *testing.B) {
	s, token, device := benchServer(b)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}}
	var body strings.Builder
	for i := range 100 {
		fmt.Fprintf(&body, `{"deviceId":%q,"capability":"switchLevel","attribute":"level","value":%d}`+"\n", device, i)
	}
	b.SetParallelism(4)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := post(client, s.BaseURL()+"/hark/v1/events", token, body.String()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.ReportMetric(100*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkDelivery measures from acknowledged events to signed POSTs answered by four apps,
// beside the rate of signatures alone, which bounds it (see BenchmarkSign).
func BenchmarkDelivery(b *testing.B) {
	for name, settings := range map[string]string{
		"RSA":      `{}`,
		"ECDSA":    `{"signatures":["ECDSA"]}`,
		"Standard": `{"signatures":["STANDARD_WEBHOOKS"]}`,
		"Batches":  `{"maxEvents":100}`,
	} {
		b.Run(name, func(b *testing.B) { benchDelivery(b, settings) })
	}
}

func benchDelivery(b *testing.B, settings string) {
	s, token, device := benchServer(b)
	const receivers = 4
	var got atomic.Int64
	done := make(chan struct{})
	target := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if got.Add(int64(bytes.Count(body, []byte("subscriptionName")))) == int64(b.N*100*receivers) {
			close(done)
		}
	}))
	b.Cleanup(target.Close)
	for i := range receivers {
		name := fmt.Sprint("bench-", i)
		benchApp(b, s, name, target.URL, device)
		r, _ := http.NewRequest("PUT", s.BaseURL()+"/hark/v1/apps/"+name+"/delivery", strings.NewReader(settings))
		r.Header.Set("Authorization", "Bearer "+token)
		if response, err := http.DefaultClient.Do(r); err != nil || response.StatusCode != http.StatusOK {
			b.Fatal(response, err)
		}
	}
	var body strings.Builder
	for i := range 100 {
		fmt.Fprintf(&body, `{"deviceId":%q,"capability":"switchLevel","attribute":"level","value":%d}`+"\n", device, i)
	}
	b.ResetTimer()
	for range b.N {
		if err := post(http.DefaultClient, s.BaseURL()+"/hark/v1/events", token, body.String()); err != nil {
			b.Fatal(err)
		}
	}
	<-done
	b.ReportMetric(100*receivers*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkLatency measures from a report's acknowledgement under way to its signed POST at the
// receiver, one report at a time, while one app of the home is dead and one hangs.
func BenchmarkLatency(b *testing.B) {
	s, token, device := benchServer(b)
	arrived := make(chan time.Time, 1)
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { arrived <- time.Now() }))
	b.Cleanup(target.Close)
	stuck := make(chan struct{})
	hanging := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-stuck }))
	b.Cleanup(func() { close(stuck); hanging.Close() })
	for i, url := range []string{target.URL, hanging.URL, "http://127.0.0.1:1/"} {
		benchApp(b, s, fmt.Sprint("latency-", i), url, device)
	}
	var took []time.Duration
	value := 0
	for b.Loop() {
		value++
		started := time.Now()
		if err := post(http.DefaultClient, s.BaseURL()+"/hark/v1/events", token, fmt.Sprintf(`{"deviceId":%q,"capability":"switchLevel","attribute":"level","value":%d}`, device, value%101)); err != nil {
			b.Fatal(err)
		}
		took = append(took, (<-arrived).Sub(started))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-us")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-us")
}
