package certs

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/letsencrypt/challtestsrv"
	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
)

// serve answers by HTTPS with the configuration's certificates.
func serve(t *testing.T, l net.Listener, c Config) (port int) {
	t.Helper()
	config, err := c.TLS()
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Host+" "+r.Proto) }), ErrorLog: log.New(io.Discard, "", 0)}
	go s.Serve(tls.NewListener(l, config))
	t.Cleanup(func() { s.Close() })
	return l.Addr().(*net.TCPAddr).Port
}

func listenAnywhere(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// get asks the server by a name, trusting the roots alone.
func get(l net.Listener, name string, roots *x509.CertPool) (string, error) {
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: name}, ForceAttemptHTTP2: true}}
	defer client.CloseIdleConnections()
	response, err := client.Get("https://" + l.Addr().String())
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	return string(b), err
}

func roots(t *testing.T, certificate []byte) *x509.CertPool {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(certificate) {
		t.Fatal("no certificate")
	}
	return pool
}

// TestLocalAuthority answers for the hosts that clients have built in, and for no others.
func TestLocalAuthority(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	if _, err := (Config{Dir: dir}).TLS(); err == nil || !strings.Contains(err.Error(), "hark ca") {
		t.Errorf("without an authority: %v", err)
	}
	a, created, err := CreateAuthority(dir, []string{"hark.example.org"})
	if err != nil || !created {
		t.Fatal(created, err)
	}
	if again, created, err := CreateAuthority(dir, nil); err != nil || created || again.Fingerprint() != a.Fingerprint() {
		t.Errorf("made again: %v %v", created, err)
	}
	if info, err := os.Stat(filepath.Join(dir, caKeyFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's file: %v %v", info.Mode(), err)
	}
	certificate, err := os.ReadFile(Path(dir))
	if err != nil {
		t.Fatal(err)
	}
	l := listenAnywhere(t)
	serve(t, l, Config{Dir: dir})
	trusting := roots(t, certificate)
	for _, name := range append([]string{"localhost", "127.0.0.1", "hark.example.org", "nas.local", ""}, PlatformHosts...) {
		if answer, err := get(l, name, trusting); err != nil || !strings.HasSuffix(answer, "HTTP/1.1") {
			t.Errorf("%q: %q %v", name, answer, err)
		}
	}
	for _, name := range []string{"example.com", "hark.example.org.evil.com", "notsmartthings.com"} {
		if answer, err := get(l, name, trusting); err == nil {
			t.Errorf("%q is answered: %q", name, answer)
		}
	}
	if _, err := get(l, "localhost", x509.NewCertPool()); err == nil {
		t.Error("who does not trust the authority is content")
	}
	// Even a certificate that its key signs for another name is worth nothing.
	leaf, err := a.certificateFor(&tls.ClientHelloInfo{ServerName: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	forged := *leaf.Leaf
	forged.DNSNames = []string{"bank.example"}
	der, err := x509.CreateCertificate(nil, &forged, a.certificate, leaf.Leaf.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	fake, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fake.Verify(x509.VerifyOptions{Roots: trusting, DNSName: "bank.example"}); err == nil {
		t.Error("the authority can vouch for a bank")
	}
}

// TestGivenCertificate reads a certificate that is renewed while the server runs.
func TestGivenCertificate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var authority *Authority
	var trusting *x509.CertPool
	renew := func(name string) {
		a, _, err := CreateAuthority(t.TempDir(), nil)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := a.certificateFor(&tls.ClientHelloInfo{ServerName: name})
		if err != nil {
			t.Fatal(err)
		}
		key, err := x509.MarshalPKCS8PrivateKey(leaf.PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		for file, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: leaf.Certificate[0]}, "key.pem": {Type: "PRIVATE KEY", Bytes: key}} {
			if err := os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		authority, trusting = a, x509.NewCertPool()
		trusting.AddCert(authority.certificate)
	}
	renew("one.test")
	l := listenAnywhere(t)
	serve(t, l, Config{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")})
	for _, name := range []string{"one.test", "two.test"} {
		if answer, err := get(l, name, trusting); err != nil {
			t.Errorf("%s: %q %v", name, answer, err)
		}
		renew("two.test")
	}
	if _, err := (Config{Cert: filepath.Join(dir, "none.pem"), Key: filepath.Join(dir, "key.pem")}).TLS(); err == nil {
		t.Error("a certificate that is not there is no fault")
	}
}

// TestACME gets a certificate from Pebble, the test server of Let's Encrypt, by proving on its
// own port that the name leads to it.
func TestACME(t *testing.T) {
	t.Setenv("PEBBLE_VA_NOSLEEP", "1")
	t.Setenv("PEBBLE_WFE_NONCEREJECT", "0")
	names := listenAnywhere(t)
	address := names.Addr().String()
	names.Close()
	dns, err := challtestsrv.New(challtestsrv.Config{DNSAddrs: []string{address}, Log: log.New(io.Discard, "", 0)})
	if err != nil {
		t.Fatal(err)
	}
	dns.SetDefaultDNSIPv4("127.0.0.1")
	dns.SetDefaultDNSIPv6("")
	go dns.Run()
	t.Cleanup(dns.Shutdown)

	l := listenAnywhere(t)
	quiet, store := log.New(t.Output(), "", 0), db.NewMemoryStore()
	issuer := ca.New(quiet, store, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {Description: "default"}})
	validator := va.New(quiet, 1, l.Addr().(*net.TCPAddr).Port, false, address, store)
	front := wfe.New(quiet, store, validator, issuer, []string{"pebble.test"}, false, false, 1, 1)
	authority := httptest.NewTLSServer(front.Handler())
	t.Cleanup(authority.Close)
	management := httptest.NewServer(front.ManagementHandler())
	t.Cleanup(management.Close)

	dir := t.TempDir()
	serve(t, l, Config{ACMEHosts: []string{"hark.test"}, ACMEDirectory: authority.URL + wfe.DirectoryPath, ACMEClient: authority.Client(), Dir: dir})
	response, err := http.Get(management.URL + wfe.RootCertPath + "0")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	root, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if answer, err := get(l, "hark.test", roots(t, root)); err != nil || !strings.HasSuffix(answer, "HTTP/1.1") {
		t.Errorf("hark.test: %q %v", answer, err)
	}
	if _, err := get(l, "other.test", roots(t, root)); err == nil {
		t.Error("another name gets a certificate")
	}
	if kept, err := os.ReadDir(filepath.Join(dir, "acme")); err != nil || len(kept) == 0 {
		t.Errorf("nothing is kept for the next start: %v %v", kept, err)
	}
}
