package bench

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"hark/internal/capability"
	"hark/internal/engine"
	"hark/internal/event"
	"hark/internal/id"
	"hark/internal/subscription"
)

// The names of limits.
const (
	limitFsync  = "fsync"
	limitEngine = "engine, batches of 1000"
	limitRSA    = "RSA-2048 signatures, all processors"
	limitECDSA  = "ECDSA P-256 signatures, all processors"
	limitPOST   = "bare POST, 8 connections"
	limitPOSTs  = "bare POST, 256 connections"
	limitMatch  = "match in a loop, 1 million subscriptions"
)

// limits measures what hark cannot be faster than.
func (l *lab) limits(ctx context.Context) error {
	short := l.For / 3
	for _, limit := range []struct {
		name    string
		unit    string
		measure func(context.Context, time.Duration) (float64, error)
	}{
		{limitFsync, "writes/s", l.fsyncs},
		{limitEngine, "entries/s", l.appends},
		{limitRSA, "/s", rsaSignatures},
		{limitECDSA, "/s", ecdsaSignatures},
		{limitPOST, "/s", func(ctx context.Context, d time.Duration) (float64, error) { return l.posts(ctx, d, 8) }},
		{limitPOSTs, "/s", func(ctx context.Context, d time.Duration) (float64, error) { return l.posts(ctx, d, 256) }},
		{limitMatch, "events/s", matches},
	} {
		v, err := limit.measure(ctx, short)
		if err != nil {
			return fmt.Errorf("%s: %w", limit.name, err)
		}
		l.note(Figure{Name: limit.name, Value: v, Unit: limit.unit})
	}
	return nil
}

func (l *lab) fsyncs(ctx context.Context, d time.Duration) (float64, error) {
	f, err := os.Create(filepath.Join(l.Dir, "fsync"))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	block := make([]byte, 4096)
	return rate(ctx, 1, d, func(int) error {
		if _, err := f.Write(block); err != nil {
			return err
		}
		return f.Sync()
	})
}

// appends measures the engine alone: full batches of entries as large as events.
func (l *lab) appends(ctx context.Context, d time.Duration) (float64, error) {
	e, err := engine.Open(ctx, engine.Config{Dir: filepath.Join(l.Dir, "engine")}, slog.New(slog.DiscardHandler))
	if err != nil {
		return 0, err
	}
	defer e.Close()
	s, err := e.OpenStream(ctx, engine.StreamConfig{Name: "BENCH", Prefix: "bench"})
	if err != nil {
		return 0, err
	}
	defer s.Close()
	entries := make([]engine.Entry, engine.MaxAppend)
	for i := range entries {
		entries[i] = engine.Entry{Key: "home.device", Data: make([]byte, 400)}
	}
	v, err := rate(ctx, 2, d, func(int) error {
		_, err := s.AppendWait(context.WithoutCancel(ctx), entries...)
		return err
	})
	return v * engine.MaxAppend, err
}

func rsaSignatures(ctx context.Context, d time.Duration) (float64, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return 0, err
	}
	return signatures(ctx, d, key)
}

func ecdsaSignatures(ctx context.Context, d time.Duration) (float64, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return 0, err
	}
	return signatures(ctx, d, key)
}

func signatures(ctx context.Context, d time.Duration, key crypto.Signer) (float64, error) {
	sum := sha256.Sum256([]byte("what is signed"))
	return rate(ctx, runtime.NumCPU(), d, func(int) error {
		_, err := key.Sign(nil, sum[:], crypto.SHA256) // as hark does
		return err
	})
}

// posts measures client and server of net/http alone, each a process of its own as with hark.
func (l *lab) posts(ctx context.Context, d time.Duration, connections int) (v float64, err error) {
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) })) // the client sees what fails
	defer server.Close()
	out, err := exec.CommandContext(ctx, l.Binary, PostCommand, server.URL, strconv.Itoa(connections), d.String()).Output()
	if err == nil {
		err = json.Unmarshal(out, &v)
	}
	return v, err
}

// PostCommand is the command line's name for [Post].
const PostCommand = "bench-post"

// Post posts bodies and headers as large as a webhook's on so many connections, and returns how
// many a second were answered.
func Post(ctx context.Context, url string, connections int, d time.Duration) (float64, error) {
	client, body := newClient(), strings.Repeat("x", 800)
	headers := http.Header{"Authorization": {strings.Repeat("x", 560)}, "Digest": {strings.Repeat("x", 52)}, "Content-Type": {"application/json"},
		"X-St-Correlation": {strings.Repeat("x", 36)}, "Date": {strings.Repeat("x", 29)}, "Accept": {"application/json"}}
	return rate(ctx, connections, d, func(int) error {
		r, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
		if err != nil {
			return err
		}
		r.Header = headers.Clone()
		_, err = do(client, r)
		return err
	})
}

func newClient() *http.Client {
	return &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 512}, Timeout: 30 * time.Second}
}

// post makes a request that must be answered 200.
func post(client *http.Client, url, token, body string) ([]byte, error) {
	r, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return do(client, r)
}

func do(client *http.Client, r *http.Request) ([]byte, error) {
	response, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, content)
	}
	return content, err
}

// matches measures the index alone, one event at a time, on one processor.
func matches(ctx context.Context, d time.Duration) (float64, error) {
	const subscriptions = 1_000_000
	var index subscription.Index
	app, location := id.New[id.InstalledApp](), id.New[id.Location]()
	events := make([]*event.Event, 0, 1000)
	for i := range subscriptions {
		device := id.New[id.Device]()
		index.Add(&subscription.Subscription{
			Device: device, Location: location, App: &app, ID: id.New[id.Subscription](),
			Filter: &subscription.Filter{Source: subscription.Device, Component: subscription.Any, Capability: subscription.Any, Attribute: subscription.Any},
		})
		if i%(subscriptions/1000) == 0 {
			e := event.New(event.DeviceEvent, location, id.Mode{})
			e.Seq, e.Device = uint64(i+1), &event.Report{Device: device, Component: "main", Capability: "switch", Attribute: "switch", Value: capability.Value(`"on"`)}
			events = append(events, e)
		}
	}
	var found []*subscription.Subscription
	v, err := rate(ctx, 1, d, func(int) error {
		for _, e := range events {
			if found = index.Match(found[:0], e); len(found) != 1 {
				return fmt.Errorf("an event matched %d subscriptions, not 1", len(found))
			}
		}
		return nil
	})
	return v * float64(len(events)), err
}
