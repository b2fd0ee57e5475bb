package appcall

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hark/internal/apps"
	"hark/internal/signature"
	"hark/internal/telemetry"
)

func TestEgress(t *testing.T) {
	t.Parallel()
	for address, policies := range map[string]string{ // those that allow it
		"93.184.216.34": "internet lan any", "2606:2800:220:1::1": "internet lan any",
		"10.0.0.1": "lan any", "192.168.1.2": "lan any", "172.31.255.255": "lan any", "fd00::1": "lan any",
		"127.0.0.1": "any", "127.9.9.9": "any", "::1": "any", "0.0.0.0": "any", "::": "any", "169.254.169.254": "any", "fe80::1": "any", "fe80::1%eth0": "any",
		"100.64.0.1": "any", "198.18.0.1": "any", "240.0.0.1": "any", "192.0.2.1": "any", "2001:db8::1": "any", "2001::1": "any", "64:ff9b:1::a00:1": "any",
		"224.0.0.1": "", "255.255.255.255": "", "ff02::1": "",
		// Addresses in disguise.
		"::ffff:127.0.0.1": "any", "::ffff:10.0.0.1": "lan any", "::ffff:93.184.216.34": "internet lan any",
		"64:ff9b::7f00:1": "any", "64:ff9b::a9fe:a9fe": "any", "64:ff9b::a00:1": "lan any", "64:ff9b::5db8:d822": "internet lan any",
		"2002:7f00:1::": "any", "2002:c0a8:102::1": "lan any", "2002:a9fe:a9fe::": "any",
	} {
		for _, policy := range []Egress{EgressInternet, EgressLAN, EgressAny} {
			allowed := strings.Contains(" "+policies+" ", " "+string(policy)+" ")
			if err := policy.Allows(netip.MustParseAddr(address)); (err == nil) != allowed {
				t.Errorf("%s sends to %s: %v", policy, address, err)
			} else if err != nil && !strings.Contains(err.Error(), "--egress") {
				t.Errorf("the refusal of %s does not say what would help: %v", address, err)
			}
		}
	}
}

type oneKey struct{ key *signature.Key }

func (k oneKey) KeyOf(context.Context, *apps.App, signature.Algorithm) (*signature.Key, error) {
	return k.key, nil
}

// TestEgressAtConnectTime calls names that lead where the policy does not, redirects, and answers
// that never end.
func TestEgressAtConnectTime(t *testing.T) {
	t.Parallel()
	key, err := signature.Generate(signature.RSA, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	var secret, endless atomic.Int32
	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { secret.Add(1) }))
	t.Cleanup(inside.Close)
	call := func(policy Egress, target string) error {
		c := New(oneKey{key}, policy, telemetry.New())
		defer c.Close()
		_, err := c.Call(t.Context(), &apps.App{TargetURL: target, SignatureType: apps.STPadlock}, Message{Body: []byte("{}")})
		return err
	}
	_, port, _ := strings.Cut(strings.TrimPrefix(inside.URL, "http://"), ":")
	for _, target := range []string{inside.URL, "http://localhost:" + port, "http://[::ffff:127.0.0.1]:" + port, "http://0.0.0.0:" + port, "http://2130706433:" + port} {
		if err := call(EgressLAN, target); err == nil || secret.Load() > 0 {
			t.Errorf("%s is called: %v", target, err)
		}
	}
	if err := call(EgressAny, inside.URL); err != nil || secret.Load() != 1 {
		t.Errorf("with any: %v", err)
	}
	redirecting := httptest.NewServer(http.RedirectHandler(inside.URL, http.StatusTemporaryRedirect))
	t.Cleanup(redirecting.Close)
	if err := call(EgressAny, redirecting.URL); err == nil || !strings.Contains(err.Error(), "307") || secret.Load() != 1 {
		t.Errorf("a redirection is followed: %v", err)
	}
	flood := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		chunk := make([]byte, 1<<16)
		for r.Context().Err() == nil {
			if _, err := w.Write(chunk); err != nil {
				return
			}
			endless.Add(1)
		}
	}))
	t.Cleanup(flood.Close)
	started := time.Now()
	if err := call(EgressAny, flood.URL); err != nil {
		t.Errorf("an endless answer: %v", err) // what is read of it suffices
	}
	if n := endless.Load(); n > 2000 || time.Since(started) > apps.DefaultTimeout {
		t.Errorf("%d chunks are read in %v", n, time.Since(started))
	}
	dripping := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			io.WriteString(w, "x")
			w.(http.Flusher).Flush()
			time.Sleep(200 * time.Millisecond)
		}
	}))
	t.Cleanup(dripping.Close)
	if err := call(EgressAny, dripping.URL); err == nil || !strings.Contains(err.Error(), "did not answer within") {
		t.Errorf("an answer that drips: %v", err)
	}
}

// TestConnectionsToOneHostAreBounded makes more calls at once than a host gets connections, to one
// that never answers.
func TestConnectionsToOneHostAreBounded(t *testing.T) {
	t.Parallel()
	key, err := signature.Generate(signature.ECDSA, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	var opened atomic.Int32
	hung := make(chan struct{})
	hanging := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hung }))
	hanging.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	hanging.Start()
	t.Cleanup(func() { close(hung); hanging.Close() })
	c := New(oneKey{key}, EgressAny, telemetry.New())
	defer c.Close()
	app := &apps.App{TargetURL: hanging.URL, Delivery: apps.Delivery{Signatures: []string{apps.SignECDSA}}}
	ctx, hangUp := context.WithCancel(t.Context())
	defer hangUp()
	var calls sync.WaitGroup
	for range maxConnections + 100 {
		calls.Go(func() {
			if _, err := c.Call(ctx, app, Message{Body: []byte("{}")}); err == nil {
				t.Error("a call is answered")
			}
		})
	}
	for deadline := time.Now().Add(5 * time.Second); opened.Load() < maxConnections && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(300 * time.Millisecond) // for one too many
	if n := opened.Load(); n != maxConnections {
		t.Errorf("%d connections to one host, want %d", n, maxConnections)
	}
	hangUp()
	calls.Wait()
}
