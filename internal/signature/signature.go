// Package signature signs requests to apps by the platform's scheme (reference 3.8): HTTP
// Signatures after draft-cavage, rsa-sha256 over (request-target), digest and date.
package signature

import (
	"crypto"
	"crypto/md5" // the platform's name for APP_RSA keys is an MD5 fingerprint
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" // a name for the key, not a proof
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"time"
)

// Key signs, and carries what others need to verify. Its private part is in memory only;
// Encode is for storing it.
type Key struct {
	private     *rsa.PrivateKey
	certificate string // PEM, what the key server answers
	public      string // PEM, what an app registered with APP_RSA is told
	padlockID   string // keyId under ST_PADLOCK: the path at the key server
	appRSAID    string // keyId under APP_RSA
}

// region stands where the platform has its data centre in a keyId.
const region = "hark"

const bits = 2048

// Generate makes a new key with a self-signed certificate. It takes some 100 ms.
func Generate(now time.Time) (*Key, error) {
	private, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		return nil, fmt.Errorf("generate signing key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("generate signing key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "hark webhook signatures"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(30, 0, 0), // nobody checks it; a new key gets a new keyId
		KeyUsage: x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return nil, fmt.Errorf("generate signing key: %w", err)
	}
	return newKey(private, der)
}

func newKey(private *rsa.PrivateKey, certificate []byte) (*Key, error) {
	public, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	long, short := sha1.Sum(public), md5.Sum(public) // names, see the imports
	return &Key{
		private:     private,
		certificate: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})),
		public:      string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})),
		padlockID:   "/pl/" + region + "/" + separated(long[:], "-"),
		appRSAID:    "/SmartThings/" + separated(short[:], ":"),
	}, nil
}

func separated(b []byte, by string) string {
	parts := make([]string, len(b))
	for i, x := range b {
		parts[i] = hex.EncodeToString([]byte{x})
	}
	return strings.Join(parts, by)
}

// Encode returns the key as PEM blocks: the private key and the certificate. Keep it secret.
func (k *Key) Encode() string {
	der := x509.MarshalPKCS1PrivateKey(k.private)
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: der})) + k.certificate
}

// Decode reads what Encode wrote.
func Decode(text string) (*Key, error) {
	private, rest := pem.Decode([]byte(text))
	if private == nil {
		return nil, fmt.Errorf("decode signing key: no PEM block")
	}
	certificate, _ := pem.Decode(rest)
	if certificate == nil {
		return nil, fmt.Errorf("decode signing key: no certificate")
	}
	key, err := x509.ParsePKCS1PrivateKey(private.Bytes)
	if err != nil {
		return nil, fmt.Errorf("decode signing key: %w", err)
	}
	return newKey(key, certificate.Bytes)
}

// ID returns the keyId under ST_PADLOCK; the key server answers it with Certificate.
func (k *Key) ID() string { return k.padlockID }

// Certificate returns the X.509 certificate in PEM.
func (k *Key) Certificate() string { return k.certificate }

// PublicKey returns the public key in PEM, which apps registered with APP_RSA verify by.
func (k *Key) PublicKey() string { return k.public }

// Sign sets the headers Date, Digest and Authorization of a request with the body. AppRSA
// chooses the keyId of apps that verify by a public key they were given, not by the key
// server. It costs about 0.8 ms of one core.
func (k *Key) Sign(r *http.Request, body []byte, now time.Time, appRSA bool) error {
	digest := sha256.Sum256(body)
	r.Header.Set("Digest", "SHA256="+base64.StdEncoding.EncodeToString(digest[:]))
	r.Header.Set("Date", now.UTC().Format(http.TimeFormat)) // "GMT", which every receiver studied reads
	hash := sha256.Sum256([]byte(signingString(r)))
	sig, err := rsa.SignPKCS1v15(nil, k.private, crypto.SHA256, hash[:])
	if err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	keyID := k.padlockID
	if appRSA {
		keyID = k.appRSAID
	}
	r.Header.Set("Authorization", `Signature keyId="`+keyID+`",signature="`+base64.StdEncoding.EncodeToString(sig)+
		`",headers="(request-target) digest date",algorithm="rsa-sha256"`)
	return nil
}

// signingString is what is signed. The request target has no query: the current official
// SDK verifies without it (client requirements, "Webhook requests").
func signingString(r *http.Request) string {
	path := r.URL.EscapedPath()
	if path == "" {
		path = "/"
	}
	return "(request-target): " + strings.ToLower(r.Method) + " " + path +
		"\ndigest: " + r.Header.Get("Digest") + "\ndate: " + r.Header.Get("Date")
}
