package signature

import (
	"crypto"
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
	k, err := Generate(time.Now())
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
		if err := key.Sign(r, []byte("{}"), now, false); err != nil {
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
	if err := key.Sign(r, nil, time.Now(), true); err != nil {
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

func BenchmarkSign(b *testing.B) {
	r, _ := http.NewRequest("POST", "http://app.example/", nil)
	body := make([]byte, 1000)
	for b.Loop() {
		if err := key.Sign(r, body, time.Now(), false); err != nil {
			b.Fatal(err)
		}
	}
}
