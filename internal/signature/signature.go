// Package signature signs requests to apps: by the platform's scheme (reference 3.8), HTTP
// Signatures after draft-cavage over (request-target), digest and date, with RSA or ECDSA; and
// by the Standard Webhooks specification. Which of them an app gets is not its business.
package signature

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
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

// Algorithm is a kind of key, by its name in signatures.
type Algorithm string

// The algorithms.
const (
	RSA   Algorithm = "rsa-sha256"   // 2048 bits; 0.8 ms of one core for each signature
	ECDSA Algorithm = "ecdsa-sha256" // P-256, in ASN.1; 0.02 ms
)

// Key signs, and carries what others need to verify. Its private part is in memory only;
// Encode is for storing it.
type Key struct {
	Algorithm Algorithm
	Created   time.Time

	private     crypto.Signer
	certificate string // PEM, what the key server answers
	public      string // PEM, what an app registered with APP_RSA is told
	padlockID   string // keyId under ST_PADLOCK: the path at the key server
	appRSAID    string // keyId under APP_RSA
}

// region stands where the platform has its data centre in a keyId.
const region = "hark"

const bits = 2048

// Generate makes a new key with a self-signed certificate. For RSA it takes some 100 ms.
func Generate(algorithm Algorithm, now time.Time) (*Key, error) {
	var private crypto.Signer
	var err error
	if algorithm == ECDSA {
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	} else {
		private, err = rsa.GenerateKey(rand.Reader, bits)
	}
	if err != nil {
		return nil, fmt.Errorf("generate signing key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("generate signing key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "hark webhook signatures"},
		NotBefore: now, NotAfter: now.AddDate(30, 0, 0), // nobody checks it; a new key gets a new keyId
		KeyUsage: x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return nil, fmt.Errorf("generate signing key: %w", err)
	}
	return newKey(private, der)
}

func newKey(private crypto.Signer, der []byte) (*Key, error) {
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	public, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	algorithm := RSA
	if _, ok := private.(*ecdsa.PrivateKey); ok {
		algorithm = ECDSA
	}
	long, short := sha1.Sum(public), md5.Sum(public) // names, see the imports
	return &Key{
		Algorithm:   algorithm,
		Created:     certificate.NotBefore,
		private:     private,
		certificate: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
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
	der, err := x509.MarshalPKCS8PrivateKey(k.private)
	if err != nil {
		panic("signature: " + err.Error()) // both kinds marshal
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})) + k.certificate
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
	parsed, err := x509.ParsePKCS8PrivateKey(private.Bytes)
	if err != nil {
		return nil, fmt.Errorf("decode signing key: %w", err)
	}
	switch key := parsed.(type) {
	case *rsa.PrivateKey:
		return newKey(key, certificate.Bytes)
	case *ecdsa.PrivateKey:
		return newKey(key, certificate.Bytes)
	}
	return nil, fmt.Errorf("decode signing key: it is a %T", parsed)
}

// ID returns the keyId under ST_PADLOCK; the key server answers it with Certificate.
func (k *Key) ID() string { return k.padlockID }

// Name returns the last part of ID: it tells keys apart.
func (k *Key) Name() string { return k.padlockID[strings.LastIndexByte(k.padlockID, '/')+1:] }

// Certificate returns the X.509 certificate in PEM.
func (k *Key) Certificate() string { return k.certificate }

// PublicKey returns the public key in PEM, which apps registered with APP_RSA verify by.
func (k *Key) PublicKey() string { return k.public }

// Digest sets the headers Date and Digest of a request with the body, which Sign needs.
func Digest(r *http.Request, body []byte, now time.Time) {
	digest := sha256.Sum256(body)
	r.Header.Set("Digest", "SHA256="+base64.StdEncoding.EncodeToString(digest[:]))
	r.Header.Set("Date", now.UTC().Format(http.TimeFormat)) // "GMT", which every receiver studied reads
}

// Sign adds an Authorization header to a request that has its Digest. AppRSA chooses the keyId
// of apps that verify by a public key they were given, not by the key server.
func (k *Key) Sign(r *http.Request, appRSA bool) error {
	hash := sha256.Sum256([]byte(signingString(r)))
	sig, err := k.private.Sign(nil, hash[:], crypto.SHA256) // without randomness: ECDSA by RFC 6979 then, a quarter faster
	if err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	keyID := k.padlockID
	if appRSA {
		keyID = k.appRSAID
	}
	r.Header.Add("Authorization", `Signature keyId="`+keyID+`",signature="`+base64.StdEncoding.EncodeToString(sig)+
		`",headers="(request-target) digest date",algorithm="`+string(k.Algorithm)+`"`)
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
