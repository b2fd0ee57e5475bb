package signature

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
)

// key is one for all tests: making one takes 100 ms.
var key = func() *Key {
	k, err := Generate(RSA, time.Now())
	if err != nil {
		panic(err)
	}
	return k
}()

// verify checks a request as a receiver does, from nothing but its headers and the
// certificate (reference 3.8).
func verify(t *testing.T, r *http.Request, path string) map[string]string {
	t.Helper()
	authorization, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Signature ")
	if !ok || strings.Contains(authorization, ", ") {
		t.Fatalf("authorization: %s", r.Header.Get("Authorization"))
	}
	params := map[string]string{}
	for _, m := range regexp.MustCompile(`([a-zA-Z]+)="([^"]*)"`).FindAllStringSubmatch(authorization, -1) {
		params[m[1]] = m[2]
	}
	block, _ := pem.Decode([]byte(key.Certificate()))
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := base64.StdEncoding.DecodeString(params["signature"])
	if err != nil {
		t.Fatal(err)
	}
	hash := sha256.Sum256([]byte("(request-target): post " + path + "\ndigest: " + r.Header.Get("Digest") + "\ndate: " + r.Header.Get("Date")))
	if err := rsa.VerifyPKCS1v15(certificate.PublicKey.(*rsa.PublicKey), crypto.SHA256, hash[:], sig); err != nil {
		t.Errorf("the signature does not verify over %s: %v", path, err)
	}
	return params
}

func TestSign(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600))
	for target, path := range map[string]string{
		"http://app.example/":                "/",
		"http://app.example":                 "/",
		"http://app.example/a%20b/c?x=1":     "/a%20b/c", // signed without the query, as the SDK verifies
		"http://app.example:8080/hook/smart": "/hook/smart",
	} {
		r, err := http.NewRequest("POST", target, nil)
		if err != nil {
			t.Fatal(err)
		}
		Digest(r, []byte("{}"), now)
		if err := key.Sign(r, false); err != nil {
			t.Fatal(err)
		}
		params := verify(t, r, path)
		if params["keyId"] != key.ID() || !strings.HasPrefix(key.ID(), "/pl/") || params["algorithm"] != "rsa-sha256" || params["headers"] != "(request-target) digest date" {
			t.Errorf("parameters: %v", params)
		}
		if got := r.Header.Get("Date"); got != "Fri, 02 Jan 2026 02:04:05 GMT" {
			t.Errorf("date: %s", got)
		}
		if got := r.Header.Get("Digest"); got != "SHA256=RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o=" {
			t.Errorf("digest: %s", got)
		}
	}
}

func TestAppRSAUsesItsOwnKeyID(t *testing.T) {
	t.Parallel()
	r, _ := http.NewRequest("POST", "http://app.example/", nil)
	Digest(r, nil, time.Now())
	if err := key.Sign(r, true); err != nil {
		t.Fatal(err)
	}
	if id := verify(t, r, "/")["keyId"]; !regexp.MustCompile(`^/SmartThings/([0-9a-f]{2}:){15}[0-9a-f]{2}$`).MatchString(id) {
		t.Errorf("keyId: %s", id)
	}
	if block, _ := pem.Decode([]byte(key.PublicKey())); block == nil || block.Type != "PUBLIC KEY" {
		t.Errorf("public key: %s", key.PublicKey())
	}
}

func TestEncodeDecode(t *testing.T) {
	t.Parallel()
	back, err := Decode(key.Encode())
	if err != nil {
		t.Fatal(err)
	}
	if back.ID() != key.ID() || back.Certificate() != key.Certificate() || back.PublicKey() != key.PublicKey() {
		t.Error("the key comes back as another")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(key.Encode())
	f.Add("-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n")
	f.Fuzz(func(t *testing.T, text string) {
		if k, err := Decode(text); err == nil && k.ID() == "" {
			t.Error("a key without an id")
		}
	})
}

// TestECDSA verifies the same header with the other kind of key.
func TestECDSA(t *testing.T) {
	t.Parallel()
	k, err := Generate(ECDSA, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if k, err = Decode(k.Encode()); err != nil {
		t.Fatal(err)
	}
	r, _ := http.NewRequest("POST", "http://app.example/hook", nil)
	Digest(r, []byte("{}"), time.Now())
	if err := k.Sign(r, false); err != nil {
		t.Fatal(err)
	}
	params := map[string]string{}
	for _, m := range regexp.MustCompile(`([a-zA-Z]+)="([^"]*)"`).FindAllStringSubmatch(r.Header.Get("Authorization"), -1) {
		params[m[1]] = m[2]
	}
	if params["algorithm"] != "ecdsa-sha256" || params["keyId"] != k.ID() {
		t.Errorf("parameters: %v", params)
	}
	block, _ := pem.Decode([]byte(k.Certificate()))
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	sig, _ := base64.StdEncoding.DecodeString(params["signature"])
	hash := sha256.Sum256([]byte("(request-target): post /hook\ndigest: " + r.Header.Get("Digest") + "\ndate: " + r.Header.Get("Date")))
	if !ecdsa.VerifyASN1(certificate.PublicKey.(*ecdsa.PublicKey), hash[:], sig) {
		t.Error("the signature does not verify")
	}
}

// TestStandardWebhooks checks the example of the specification, and two secrets at once.
func TestStandardWebhooks(t *testing.T) {
	t.Parallel()
	const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	r, _ := http.NewRequest("POST", "http://app.example/", nil)
	if err := SignStandard(r, "msg_p5jXN8AQM9LWM0D4loKWxJek", []byte(`{"test": 2432232314}`), time.Unix(1614265330, 0), secret, NewSecret()); err != nil {
		t.Fatal(err)
	}
	signatures := strings.Fields(r.Header.Get("webhook-signature"))
	if len(signatures) != 2 || signatures[0] != "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=" {
		t.Errorf("signatures: %v", signatures)
	}
	if r.Header.Get("webhook-id") != "msg_p5jXN8AQM9LWM0D4loKWxJek" || r.Header.Get("webhook-timestamp") != "1614265330" {
		t.Errorf("headers: %v", r.Header)
	}
	for _, bad := range []string{"", "whsec_", "whsec_AAAA", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_!!!!"} {
		if CheckSecret(bad) == nil {
			t.Errorf("the secret %q is taken", bad)
		}
	}
}

func BenchmarkSign(b *testing.B) {
	for _, algorithm := range []Algorithm{RSA, ECDSA} {
		b.Run(string(algorithm), func(b *testing.B) {
			k, err := Generate(algorithm, time.Now())
			if err != nil {
				b.Fatal(err)
			}
			r, _ := http.NewRequest("POST", "http://app.example/", nil)
			body := make([]byte, 1000)
			for b.Loop() {
				r.Header.Del("Authorization")
				Digest(r, body, time.Now())
				if err := k.Sign(r, false); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
