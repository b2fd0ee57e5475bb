package certs

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path/filepath"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

// Config says where certificates come from. The first that is set counts; without any it is the
// local authority of Dir.
type Config struct {
	Cert, Key     string   // files
	ACMEHosts     []string // names that an ACME authority vouches for
	ACMEEmail     string
	ACMEDirectory string       // the authority's address; "" is Let's Encrypt
	ACMEClient    *http.Client // nil is the default
	Dir           string       // where the local authority is, and what ACME gave is kept
}

// TLS returns the configuration of a listener. It speaks HTTP/1.1 only: event streams need a
// connection of their own.
func (c Config) TLS() (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	switch {
	case c.Cert != "" || c.Key != "":
		files := func() (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
			return &pair, err
		}
		if _, err := files(); err != nil {
			return nil, fmt.Errorf("--tls-cert and --tls-key: %w", err)
		}
		// Read anew for each connection that resumes no other, so that a renewed one needs no restart.
		t.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return files() }
	case len(c.ACMEHosts) > 0:
		m := &autocert.Manager{
			Prompt: autocert.AcceptTOS, Cache: autocert.DirCache(filepath.Join(c.Dir, "acme")), HostPolicy: autocert.HostWhitelist(c.ACMEHosts...), Email: c.ACMEEmail,
			Client: &acme.Client{DirectoryURL: c.ACMEDirectory, HTTPClient: c.ACMEClient},
		}
		t.GetCertificate = m.GetCertificate
		t.NextProtos = append(t.NextProtos, acme.ALPNProto)
	default:
		a, err := LoadAuthority(c.Dir)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, errors.New("there is no certificate to speak TLS with: `hark ca` makes a local authority, --tls-cert and --tls-key name a certificate, --acme-hosts gets one from Let's Encrypt")
		}
		if err != nil {
			return nil, err
		}
		t.GetCertificate = a.certificateFor
	}
	return t, nil
}
