// Package certs gives a server its TLS certificates: those that it was given, those of a local
// authority that it makes itself, or those of an ACME authority such as Let's Encrypt.
package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// PlatformHosts are the names that clients have built in (reference 11): a server can answer
// for them once their names lead to it.
var PlatformHosts = []string{
	"api.smartthings.com", "auth-global.api.smartthings.com", "oauthin-regional.api.smartthings.com", "spigot-regional.api.smartthings.com", "key.smartthings.com",
}

// domains are those for which a local authority may vouch, beside the names it is made for: who
// trusts it need not fear for any other.
var domains = []string{"localhost", "smartthings.com", "home.arpa", "local", "lan", "internal", "test"}

// networks are the addresses for which it may vouch: this machine's and private ones.
var networks = []string{"127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "::1/128", "fc00::/7", "fe80::/10"}

// The files of a local authority in its directory.
const (
	caFile    = "ca.pem"
	caKeyFile = "ca-key.pem"
)

// Authority is a local certificate authority.
type Authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey

	mu     sync.Mutex
	leaves map[string]*tls.Certificate
}

// Path returns where the authority's certificate is.
func Path(dir string) string { return filepath.Join(dir, caFile) }

// CreateAuthority makes an authority in the directory, good for ten years, unless there is one.
// It vouches for names at home, for those that clients have built in, and for hosts.
func CreateAuthority(dir string, hosts []string) (a *Authority, created bool, err error) {
	if a, err = LoadAuthority(dir); !errors.Is(err, fs.ErrNotExist) {
		return a, false, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, false, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, false, err
	}
	host, _ := os.Hostname() // without it the name goes without
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "hark on " + host}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(10, 0, 0),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		PermittedDNSDomainsCritical: true, PermittedDNSDomains: slices.Concat(domains, hosts),
	}
	for _, n := range networks {
		_, network, err := net.ParseCIDR(n)
		if err != nil {
			return nil, false, err
		}
		template.PermittedIPRanges = append(template.PermittedIPRanges, network)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, false, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, false, err
	}
	if err := os.WriteFile(filepath.Join(dir, caKeyFile), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600); err != nil {
		return nil, false, err
	}
	if err := os.WriteFile(Path(dir), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
		return nil, false, err
	}
	a, err = LoadAuthority(dir)
	return a, true, err
}

// LoadAuthority reads the authority of the directory; without one the error is fs.ErrNotExist.
func LoadAuthority(dir string) (*Authority, error) {
	pair, err := tls.LoadX509KeyPair(Path(dir), filepath.Join(dir, caKeyFile))
	if err != nil {
		return nil, fmt.Errorf("local certificate authority: %w", err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("local certificate authority: its key is no ECDSA key")
	}
	return &Authority{certificate: pair.Leaf, key: key, leaves: map[string]*tls.Certificate{}}, nil
}

func serial() *big.Int {
	b := make([]byte, 16)
	rand.Read(b)
	b[0] &= 0x7f
	return new(big.Int).SetBytes(b)
}

// Fingerprint returns the SHA-256 of the certificate, as trust stores show it.
func (a *Authority) Fingerprint() string {
	sum := sha256.Sum256(a.certificate.Raw)
	parts := make([]string, len(sum))
	for i, b := range sum {
		parts[i] = fmt.Sprintf("%02X", b)
	}
	return strings.Join(parts, ":")
}

// vouches reports whether the name is one that the authority may vouch for.
func (a *Authority) vouches(name string) bool {
	return slices.ContainsFunc(a.certificate.PermittedDNSDomains, func(d string) bool { return name == d || strings.HasSuffix(name, "."+d) })
}

// leafLife is how long a certificate of the authority is good: browsers take at most 398 days.
const leafLife = 90 * 24 * time.Hour

// certificateFor returns a certificate for whom a client calls: a name, or the address that it
// reached where it names none.
func (a *Authority) certificateFor(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	if name == "" {
		host, _, err := net.SplitHostPort(hello.Conn.LocalAddr().String())
		if err != nil {
			return nil, err
		}
		name = host
	}
	ip := net.ParseIP(name)
	if ip == nil && !a.vouches(name) {
		return nil, fmt.Errorf("the local certificate authority vouches for %s only, not for %q", strings.Join(a.certificate.PermittedDNSDomains, ", "), name)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if leaf := a.leaves[name]; leaf != nil && time.Until(leaf.Leaf.NotAfter) > leafLife/3 {
		return leaf, nil
	}
	if len(a.leaves) > maxLeaves {
		clear(a.leaves)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{SerialNumber: serial(), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(leafLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	if ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{name}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	a.leaves[name] = &tls.Certificate{Certificate: [][]byte{der, a.certificate.Raw}, PrivateKey: key, Leaf: leaf}
	return a.leaves[name], nil
}

// maxLeaves bounds the certificates that are kept: names come from clients.
const maxLeaves = 1000
