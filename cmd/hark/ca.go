package main

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"hark/internal/certs"
)

type caCommand struct {
	Host []string `help:"Names beside those at home and those of the platform that the authority vouches for, such as that of --public-url." placeholder:"HOST"`
}

// Run implements the command.
func (c *caCommand) Run(in *invocation) error {
	dir := in.settings.Data
	if dir == "" {
		return errors.New("say with --data where the authority is to be kept: the directory that the server uses")
	}
	if u, err := url.Parse(in.settings.PublicURL); err == nil && u.Hostname() != "" {
		c.Host = append(c.Host, u.Hostname())
	}
	a, created, err := certs.CreateAuthority(dir, c.Host)
	if err != nil {
		return err
	}
	path := certs.Path(dir)
	if created {
		fmt.Fprintf(in.stdout, "A certificate authority for this server is made:\n")
	} else {
		fmt.Fprintf(in.stdout, "This server has a certificate authority:\n")
	}
	fmt.Fprintf(in.stdout, `
  %s
  SHA-256 %s

It vouches for names at home, private addresses, smartthings.com and what --host named, and for nothing
else, so who trusts it need not fear for other sites. Its key is beside it: keep that to yourself.

Serve with it:

  hark serve --data %s --tls-listen 0.0.0.0:443

Let clients trust it:

  Node             NODE_EXTRA_CA_CERTS=%s
  Python, Go       SSL_CERT_FILE=%s
  Debian, Ubuntu   sudo cp %s /usr/local/share/ca-certificates/hark.crt && sudo update-ca-certificates
  Fedora           sudo trust anchor %s
  macOS            sudo security add-trusted-cert -d -k /Library/Keychains/System.keychain %s
  Windows          certutil -addstore Root %s
  Home Assistant   append it to what "python3 -m certifi" names, in its container

Clients that have the platform's hosts built in need them to lead here, by a line of /etc/hosts or in the
router's DNS, with this server's address:

  192.168.1.2 %s
`, path, a.Fingerprint(), dir, path, path, path, path, path, path, strings.Join(certs.PlatformHosts, " "))
	return nil
}
