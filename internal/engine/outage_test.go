package engine_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"hark/internal/engine"
	"hark/internal/engine/enginetest"
)

// TestAppendsOutliveTheServer stops and starts a NATS server while entries are appended in
// groups of all sizes. Every append is acknowledged in the end, and in the stream exactly
// once and in order, though answers were lost.
func TestAppendsOutliveTheServer(t *testing.T) {
	t.Parallel()
	nats := enginetest.Restartable(t)
	e := enginetest.Open(t, engine.Config{URL: nats.URL})
	s := openStream(t, e)
	defer s.Close()

	var wait sync.WaitGroup
	stop := make(chan struct{})
	want := map[uint64]string{}
	wait.Go(func() {
		var acks sync.WaitGroup
		defer acks.Wait()
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			var entries []engine.Entry
			for j := range 1 + i%25 {
				entries = append(entries, engine.Entry{Key: "k", Data: fmt.Appendf(nil, "%d.%d", i, j)})
			}
			acks.Add(1)
			first, err := s.Append(entries, i%3 == 0, func(err error) {
				if err != nil {
					t.Errorf("append %d: %v", i, err)
				}
				acks.Done()
			})
			if err != nil {
				t.Error(err)
				return
			}
			for j, entry := range entries {
				want[first+uint64(j)] = string(entry.Data)
			}
			time.Sleep(time.Millisecond)
		}
	})
	for range 5 {
		time.Sleep(150 * time.Millisecond)
		nats.Stop()
		nats.Start()
	}
	time.Sleep(100 * time.Millisecond)
	close(stop)
	wait.Wait()

	got := map[uint64]string{}
	for from := uint64(1); ; {
		messages, _, err := s.Read(t.Context(), from, "k", 1000)
		if err != nil {
			t.Fatal(err)
		}
		if len(messages) == 0 {
			break
		}
		for _, m := range messages {
			got[m.Seq], from = string(m.Data), m.Seq+1
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d entries are in the stream, want %d", len(got), len(want))
	}
	for seq, data := range want {
		if got[seq] != data {
			t.Fatalf("position %d holds %q, want %q", seq, got[seq], data)
		}
	}
}

// TestTLS connects to a server that shows a certificate and wants one.
func TestTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	authority, authorityKey := certify(t, nil, nil, dir, "ca")
	certify(t, authority, authorityKey, dir, "server")
	certify(t, authority, authorityKey, dir, "client")
	file := func(name string) string { return filepath.Join(dir, name+".pem") }
	pair, err := tls.LoadX509KeyPair(file("server"), file("server-key"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(authority)
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), SyncAlways: true, NoSigs: true, NoLog: true,
		TLS: true, TLSTimeout: 5, TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("nats: not ready")
	}
	e := enginetest.Open(t, engine.Config{URL: s.ClientURL(), CA: file("ca"), Cert: file("client"), Key: file("client-key")})
	stream := openStream(t, e)
	stream.Close()
	for what, cfg := range map[string]engine.Config{
		"no certificate of its own":     {URL: s.ClientURL(), CA: file("ca")},
		"no authority":                  {URL: s.ClientURL(), Cert: file("client"), Key: file("client-key")},
		"credentials that do not exist": {URL: s.ClientURL(), CA: file("ca"), Cert: file("client"), Key: file("client-key"), Creds: file("creds")},
	} {
		if e, err := engine.Open(t.Context(), cfg, slog.New(slog.DiscardHandler)); err == nil {
			e.Close()
			t.Errorf("with %s it connects", what)
		}
	}
}

// certify writes a certificate and its key, signed by the authority or by itself.
func certify(t *testing.T, authority *x509.Certificate, authorityKey *ecdsa.PrivateKey, dir, name string) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: authority == nil, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if authority == nil {
		authority, authorityKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, authority, key.Public(), authorityKey)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{name: {Type: "CERTIFICATE", Bytes: der}, name + "-key": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(filepath.Join(dir, file+".pem"), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c, key
}
